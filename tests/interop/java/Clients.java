// JavaMail sends by submission, and reads by IMAP and POP3, over STARTTLS. Arguments: the ports of submission, imap and
// pop3, the user, the password. What it finds is printed, "name=value" a line; test_client_libraries.py knows the rest.

import com.sun.mail.iap.Argument;
import com.sun.mail.imap.AppendUID;
import com.sun.mail.imap.IMAPFolder;
import com.sun.mail.imap.IMAPMessage;
import com.sun.mail.imap.IMAPStore;
import com.sun.mail.imap.MessageVanishedEvent;
import com.sun.mail.imap.ResyncData;
import com.sun.mail.imap.SortTerm;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.activation.DataHandler;
import javax.mail.FetchProfile;
import javax.mail.Flags;
import javax.mail.Folder;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Store;
import javax.mail.Transport;
import javax.mail.UIDFolder;
import javax.mail.event.MessageCountAdapter;
import javax.mail.event.MessageCountEvent;
import javax.mail.internet.MimeBodyPart;
import javax.mail.internet.MimeMessage;
import javax.mail.internet.MimeMultipart;
import javax.mail.search.AndTerm;
import javax.mail.search.BodyTerm;
import javax.mail.search.FlagTerm;
import javax.mail.search.MessageIDTerm;
import javax.mail.search.NotTerm;
import javax.mail.search.SubjectTerm;
import javax.mail.util.ByteArrayDataSource;

public class Clients {
    static void say(String name, Object value) {
        System.out.println(name + "=" + value);
    }

    static Session session(String imap, String pop3, String submission) {
        Properties p = new Properties();
        for (String protocol : new String[] {"imap", "pop3", "smtp"}) {
            p.put("mail." + protocol + ".starttls.enable", "true");
            p.put("mail." + protocol + ".starttls.required", "true");
            p.put("mail." + protocol + ".ssl.trust", "*");
            p.put("mail." + protocol + ".timeout", "20000");
            p.put("mail." + protocol + ".host", "127.0.0.1");
        }
        p.put("mail.imap.port", imap);
        p.put("mail.pop3.port", pop3);
        p.put("mail.smtp.port", submission);
        p.put("mail.smtp.auth", "true");
        p.put("mail.imap.compress.enable", "true");
        Session made = Session.getInstance(p);
        made.setDebug(Boolean.getBoolean("mail.debug"));
        return made;
    }

    static MimeMessage message(Session session, String user, String subject, byte[] attached) throws Exception {
        MimeMessage made = new MimeMessage(session);
        made.setFrom(user);
        made.setRecipients(Message.RecipientType.TO, user);
        made.setSubject(subject, "UTF-8");
        MimeBodyPart text = new MimeBodyPart();
        text.setText("Schöne Grüße, 会议\n.\nFrom Java\n", "UTF-8");
        MimeBodyPart file = new MimeBodyPart();
        file.setDataHandler(new DataHandler(new ByteArrayDataSource(attached, "application/octet-stream")));
        file.setFileName("bytes.bin");
        made.setContent(new MimeMultipart(text, file));
        made.saveChanges();
        return made;
    }

    static boolean same(InputStream stream, byte[] wanted) throws Exception {
        return Arrays.equals(stream.readAllBytes(), wanted);
    }

    public static void main(String[] arguments) throws Exception {
        String user = arguments[3];
        String password = arguments[4];
        Session session = session(arguments[1], arguments[2], arguments[0]);
        byte[] attached = new byte[100_000];
        for (int place = 0; place < attached.length; place++) {
            attached[place] = (byte) (place * 7);
        }

        IMAPStore store = (IMAPStore) session.getStore("imap");
        store.connect(user, password);
        store.id(java.util.Map.of("name", "JavaMail"));
        say("namespaces", store.getPersonalNamespaces().length);
        IMAPFolder inbox = (IMAPFolder) store.getFolder("INBOX");
        inbox.open(Folder.READ_WRITE);

        // It idles in another thread while the message is sent.
        CountDownLatch arrived = new CountDownLatch(1);
        inbox.addMessageCountListener(
                new MessageCountAdapter() {
                    @Override
                    public void messagesAdded(MessageCountEvent event) {
                        arrived.countDown();
                    }
                });
        Thread idler =
                new Thread(
                        () -> {
                            try {
                                inbox.idle(true);
                            } catch (Exception error) {
                                say("idle", error);
                            }
                        });
        idler.start();
        Transport transport = session.getTransport("smtp");
        transport.connect(user, password);
        MimeMessage sent = message(session, user, "Grüße aus Java 会议", attached);
        transport.sendMessage(sent, sent.getAllRecipients());
        transport.close();
        say("idled", arrived.await(20, TimeUnit.SECONDS));
        idler.join(20_000);
        say("idling", idler.isAlive());

        say("count", inbox.getMessageCount());
        Message[] all = inbox.getMessages();
        FetchProfile profile = new FetchProfile();
        profile.add(FetchProfile.Item.ENVELOPE);
        profile.add(FetchProfile.Item.FLAGS);
        profile.add(FetchProfile.Item.CONTENT_INFO);
        profile.add(UIDFolder.FetchProfileItem.UID);
        profile.add(IMAPFolder.FetchProfileItem.HEADERS);
        inbox.fetch(all, profile);
        IMAPMessage first = (IMAPMessage) all[0];
        say("subject", first.getSubject());
        say("seen", first.isSet(Flags.Flag.SEEN));
        // In windows of 16 kB, as it comes.
        MimeMultipart parts = (MimeMultipart) first.getContent();
        say("parts", parts.getCount());
        say("text", ((String) parts.getBodyPart(0).getContent()).strip().replace("\r\n", "|"));
        say("attachment", same(parts.getBodyPart(1).getInputStream(), attached));
        say("seen after", first.isSet(Flags.Flag.SEEN));
        java.io.ByteArrayOutputStream whole = new java.io.ByteArrayOutputStream();
        first.writeTo(whole);
        say("whole", whole.size() == first.getSize());

        say("by subject", inbox.search(new SubjectTerm("grüße AUS java 会议")).length);
        say("by body", inbox.search(new BodyTerm("Schöne Grüße, 会议")).length);
        say("by id", inbox.search(new MessageIDTerm(sent.getMessageID())).length);
        FlagTerm flagged = new FlagTerm(new Flags(Flags.Flag.FLAGGED), true);
        say("by flag", inbox.search(new AndTerm(new NotTerm(flagged), new SubjectTerm("Java"))).length);

        Folder work = store.getFolder("Projekte/Übersicht & mehr");
        say("created", work.create(Folder.HOLDS_MESSAGES | Folder.HOLDS_FOLDERS));
        List<String> names = new ArrayList<>();
        for (Folder folder : store.getDefaultFolder().list("*")) {
            names.add(folder.getFullName() + Arrays.toString(((IMAPFolder) folder).getAttributes()));
        }
        say("listed", names);
        AppendUID[] uids = ((IMAPFolder) store.getFolder("Sent")).appendUIDMessages(new Message[] {sent});
        say("appended", uids[0].uid);
        IMAPFolder projects = (IMAPFolder) work;
        projects.open(Folder.READ_WRITE);
        AppendUID[] copied = inbox.copyUIDMessages(new Message[] {first}, projects);
        say("copied", copied[0].uid);
        first.setFlags(new Flags("$Work"), true);
        first.setFlag(Flags.Flag.FLAGGED, true);
        say("flags", Arrays.toString(first.getFlags().getUserFlags()) + first.isSet(Flags.Flag.FLAGGED));
        inbox.appendMessages(new Message[] {message(session, user, "a second", new byte[10])});
        say("count after", inbox.getMessageCount());
        Message[] sorted = inbox.getSortedMessages(new SortTerm[] {SortTerm.SUBJECT});
        say("sorted", sorted[0].getSubject());
        say("rights", inbox.myRights().toString().contains("i"));

        // It leaves, another one removes and marks, and it comes back.
        long valid = inbox.getUIDValidity();
        long modseq = inbox.getHighestModSeq();
        long second = inbox.getUID(inbox.getMessage(2));
        inbox.close(false);
        IMAPStore other = (IMAPStore) session(arguments[1], arguments[2], arguments[0]).getStore("imap");
        other.connect(user, password);
        IMAPFolder theirs = (IMAPFolder) other.getFolder("INBOX");
        theirs.open(Folder.READ_WRITE);
        theirs.getMessage(2).setFlag(Flags.Flag.ANSWERED, true);
        theirs.moveMessages(new Message[] {theirs.getMessage(1)}, other.getFolder("Trash"));
        theirs.expunge();
        say("left", theirs.getMessageCount());
        theirs.close(true);
        other.close();
        long vanished = 0;
        long changed = 0;
        for (Object event : inbox.open(Folder.READ_WRITE, new ResyncData(valid, modseq))) {
            if (event instanceof MessageVanishedEvent) {
                vanished += ((MessageVanishedEvent) event).getUIDs().length;
            } else {
                changed++;
            }
        }
        say("vanished", vanished);
        say("changed", changed);
        say("answered", inbox.getMessageByUID(second).isSet(Flags.Flag.ANSWERED));
        say("refused", inbox.doCommand(protocol -> protocol.command("FETCH 1 (X-GM-EXT-1)", (Argument) null)[0].isBAD()));
        inbox.close(false);
        projects.close(false);
        say("renamed", work.renameTo(store.getFolder("Projekte/Anders")));
        say("deleted", store.getFolder("Projekte/Anders").delete(false));
        store.close();

        Store pop = session.getStore("pop3");
        pop.connect(user, password);
        Folder drop = pop.getFolder("INBOX");
        drop.open(Folder.READ_WRITE);
        say("pop3", drop.getMessage(1).getSubject());
        say("pop3 uid", ((com.sun.mail.pop3.POP3Folder) drop).getUID(drop.getMessage(1)).isEmpty());
        drop.getMessage(1).setFlag(Flags.Flag.DELETED, true);
        drop.close(true);
        pop.close();
    }
}
