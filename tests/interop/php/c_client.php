<?php
// c-client, of Pine and of PHP's imap extension: strictly IMAP4rev1, with literals that wait; its STARTTLS is TLS 1.0.
// Arguments: the ports of submissions, imaps and pop3s, the user, the password. What it finds is printed, "name=value" a
// line.

[, , $imap, $pop3, $user, $password] = $argv;

function say(string $name, mixed $value): void
{
    echo $name, "=", is_string($value) ? $value : json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES), "\n";
}

$door = "{127.0.0.1:$imap/imap/ssl/novalidate-cert}";
$inbox = imap_open("{$door}INBOX", $user, $password) or die(implode("; ", imap_errors()));
$text = implode("\r\n", [
    "From: =?utf-8?q?B=C3=A4r?= <baer@example.org>", "To: $user, Carol <carol@example.org>", "Subject: =?utf-8?b?5Lya6K6u?=",
    "Message-ID: <php-1@example.test>", "Date: Tue, 24 Nov 2026 10:00:00 +0000", "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: quoted-printable", "", "Gr=C3=BC=C3=9Fe", "--b",
    "Content-Type: application/pdf; name=plan.pdf", "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment; filename=plan.pdf", "", base64_encode(str_repeat("x", 30)), "--b--", "",
]);
say("appended", imap_append($inbox, "{$door}INBOX", $text, "\\Seen", "24-Nov-2026 11:00:00 +0100"));
say("appended more", imap_append($inbox, "{$door}INBOX", str_replace("php-1", "php-2", str_replace("5Lya6K6u", "YWJj", $text))));
say("ping", imap_ping($inbox));
say("messages", imap_num_msg($inbox));
say("recent", imap_num_recent($inbox) >= 0);
$header = imap_headerinfo($inbox, 1);
say("subject", imap_utf8($header->subject));
say("from", $header->from[0]->mailbox . "@" . $header->from[0]->host . " " . mb_decode_mimeheader($header->from[0]->personal));
say("to", count($header->to));
say("unseen", $header->Unseen);
say("internal date", $header->MailDate);
$shape = imap_fetchstructure($inbox, 1);
say("parts", count($shape->parts));
say("attachment", $shape->parts[1]->dparameters[0]->value);
say("body", quoted_printable_decode(imap_fetchbody($inbox, 1, "1", FT_PEEK)));
say("decoded", base64_decode(imap_fetchbody($inbox, 1, "2")) === str_repeat("x", 30));
say("mime", str_contains(imap_fetchmime($inbox, 1, "2"), "application/pdf"));
say("whole", imap_fetchheader($inbox, 1) . imap_body($inbox, 1, FT_PEEK) === $text);
say("overview", array_map(fn($row) => $row->uid, imap_fetch_overview($inbox, "1:*")));
say("searched", imap_search($inbox, 'SUBJECT "会议"', SE_UID, "UTF-8"));
say("from searched", imap_search($inbox, 'FROM "baer" UNSEEN', SE_UID));
say("sorted", imap_sort($inbox, SORTSUBJECT, true, SE_UID, "ALL", "UTF-8"));
say("thread", count(imap_thread($inbox, SE_UID)));
say("flagged", imap_setflag_full($inbox, "1", "\\Flagged \\Answered"));
say("cleared", imap_clearflag_full($inbox, "1", "\\Answered"));
say("flags", imap_fetch_overview($inbox, "1")[0]->flagged . imap_fetch_overview($inbox, "1")[0]->answered);
$name = $door . mb_convert_encoding("Büro/Größe", "UTF7-IMAP", "UTF-8");
say("created", imap_createmailbox($inbox, $name));
say("subscribed", imap_subscribe($inbox, $name));
$names = array_map(fn($row) => mb_convert_encoding(str_replace($door, "", $row->name), "UTF-8", "UTF7-IMAP") . $row->delimiter, imap_getmailboxes($inbox, $door, "*"));
sort($names);
say("listed", $names);
say("in lsub", count(array_filter(imap_getsubscribed($inbox, $door, "*"), fn($row) => $row->name === $name)));
say("copied", imap_mail_copy($inbox, "1:2", str_replace($door, "", $name)));
$status = imap_status($inbox, $name, SA_ALL);
say("status", [$status->messages, $status->unseen, $status->uidnext]);
say("moved", imap_mail_move($inbox, "2", "Trash"));
say("expunged", imap_expunge($inbox));
say("left", imap_num_msg($inbox));
say("acl", imap_getacl($inbox, "INBOX") !== false);
say("renamed", imap_renamemailbox($inbox, $name, "{$door}Elsewhere"));
say("reopened", imap_reopen($inbox, "{$door}Elsewhere", 0));
say("there", imap_check($inbox)->Nmsgs);
say("undeleted", imap_delete($inbox, "1") && imap_undelete($inbox, "1") && imap_expunge($inbox));
imap_reopen($inbox, "{$door}INBOX");
say("unsubscribed", imap_unsubscribe($inbox, $name));
say("deleted", imap_deletemailbox($inbox, "{$door}Elsewhere"));
say("deleted mail", imap_delete($inbox, "1"));
say("closed", imap_close($inbox, CL_EXPUNGE));
say("errors", imap_errors());
$drop = imap_open("{127.0.0.1:$pop3/pop3/ssl/novalidate-cert}INBOX", $user, $password);
say("pop3", imap_num_msg($drop));
imap_close($drop);
say("last errors", array_values(array_filter(imap_errors() ?: [], fn($text) => $text !== "Mailbox is empty")));
