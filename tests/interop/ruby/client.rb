# Net::IMAP and Net::SMTP, over STARTTLS. Arguments: the ports of submission, imap and pop3, the user, the password.
# What it finds is printed, "name=value" a line.

require "net/imap"
require "net/pop"
require "net/smtp"
require "openssl"

submission, imap, pop3, user, password = ARGV
trusting = { verify_mode: OpenSSL::SSL::VERIFY_NONE }

text = <<~MAIL.gsub("\n", "\r\n")
  From: #{user}
  To: #{user}
  Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Ruby
  Message-ID: <ruby-1@example.test>
  MIME-Version: 1.0
  Content-Type: text/plain; charset=utf-8
  Content-Transfer-Encoding: 8bit

  Schöne Grüße
  .
  ..two
MAIL

client = Net::IMAP.new("127.0.0.1", port: imap.to_i)
puts "starttls offered=#{client.capability.include?("STARTTLS")}"
client.starttls(trusting)
client.authenticate("PLAIN", user, password)
client.select("INBOX")
puts "exists=#{client.responses["EXISTS"].last}"

sender = Net::SMTP.new("127.0.0.1", submission.to_i)
context = Net::SMTP.default_ssl_context
context.verify_mode = OpenSSL::SSL::VERIFY_NONE
sender.enable_starttls(context)
sender.start("localhost", user, password, :plain) { |smtp| smtp.send_message(text, user, user) }
client.idle(20) { |response| client.idle_done if response.is_a?(Net::IMAP::UntaggedResponse) && response.name == "EXISTS" }
puts "arrived=#{client.responses["EXISTS"].last}"

(data,) = client.fetch(1, %w[UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[]])
puts "subject=#{data.attr["ENVELOPE"].subject}"
puts "size=#{data.attr["RFC822.SIZE"] == data.attr["BODY[]"].bytesize}"
puts "type=#{data.attr["BODYSTRUCTURE"].media_type}/#{data.attr["BODYSTRUCTURE"].subtype}"
puts "body=#{data.attr["BODY[]"].split("\r\n\r\n", 2)[1].force_encoding("UTF-8").strip.gsub("\r\n", "|")}"
uid = data.attr["UID"]
puts "by subject=#{client.uid_search(["SUBJECT", "Grüße".b], "UTF-8") == [uid]}"
puts "by header=#{client.search(["HEADER", "Message-ID", "<ruby-1@example.test>"])}"
puts "sorted=#{client.sort(["REVERSE", "DATE"], ["ALL"], "UTF-8")}"
puts "threads=#{client.thread("REFERENCES", "ALL", "UTF-8").length}"
client.store(1, "+FLAGS", [:Flagged, "$Work"])
puts "flags=#{client.fetch(1, "FLAGS")[0].attr["FLAGS"].map(&:to_s).sort}"
name = Net::IMAP.encode_utf7("Büro/Größe \"x\"")
client.create(name)
client.subscribe(name)
puts "listed=#{client.list("", "*").map(&:name).include?(name)}"
puts "subscribed=#{client.lsub("", "*").map(&:name).include?(name)}"
client.append(name, text, [:Seen], Time.at(1_700_000_000))
puts "status=#{client.status(name, %w[MESSAGES UNSEEN])["MESSAGES"]}"
client.uid_move(uid, name)
puts "left=#{client.search(["ALL"]).length}"
client.getquotaroot("INBOX")
puts "acl=#{client.getacl(name).length}"
client.unsubscribe(name)
client.delete(name)
client.logout
client.disconnect

sender.start("localhost", user, password, :login) { |smtp| smtp.send_message(text, user, user) }
Net::POP3.new("127.0.0.1", pop3.to_i).start(user, password) do |pop|
  deadline = Time.now + 20
  while pop.n_mails.zero? && Time.now < deadline
    pop.finish
    pop.start(user, password)
  end
  puts "pop3=#{pop.mails[0].pop.include?("\r\n.\r\n..two\r\n")}"
end
