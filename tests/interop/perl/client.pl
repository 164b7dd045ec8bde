# Mail::IMAPClient over STARTTLS, which imapsync and others are made of. Arguments: the ports of submission, imap and
# pop3, the user, the password. What it finds is printed, "name=value" a line.

use strict;
use warnings;
use Mail::IMAPClient;
use Mail::IMAPClient::BodyStructure;

my ( $submission, $port, $pop3, $user, $password ) = @ARGV;

sub say_that { my ( $name, $value ) = @_; print "$name=", ( defined $value ? $value : "undef" ), "\n"; }

my $client = Mail::IMAPClient->new(
    Server   => "127.0.0.1",
    Port     => $port,
    Starttls => [ SSL_verify_mode => 0 ],
    User     => $user,
    Password => $password,
    Uid      => 1,
    Timeout  => 20,
    Compress => 0,
) or die "cannot log in: $@";
say_that( "logged in", $client->IsAuthenticated );
say_that( "has",       join ",", map { $client->has_capability($_) ? $_ : "" } qw(IDLE UIDPLUS MOVE CONDSTORE) );
my $text = join "\r\n", "From: $user", "To: $user", "Subject: from Perl", "Message-ID: <perl-1\@example.test>",
  "MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"', "", "--b", "Content-Type: text/plain", "",
  "words", "--b", 'Content-Type: text/html; name="a (1).html"', "", "<p>x", "--b--", "";
my $uid = $client->append_string( "INBOX", $text, '\Seen $Work', "24-Nov-2026 10:00:00 +0100" );
say_that( "appended", $uid );
$client->select("INBOX") or die $client->LastError;
say_that( "exists",   $client->message_count );
say_that( "messages", join ",", $client->messages );
say_that( "uidnext",  $client->uidnext("INBOX") == $uid + 1 );
say_that( "whole",    $client->message_string($uid) eq $text );
say_that( "size",     $client->size($uid) == length $text );
say_that( "date",     $client->internaldate($uid) );
my $headers = $client->parse_headers( $uid, "Subject", "Message-ID" );
say_that( "subject", $headers->{Subject}[0] );
my $shape = $client->get_bodystructure($uid);
say_that( "parts",   join ",", $shape->parts );
say_that( "name",    ( $shape->bodystructure )[1]->bodyparms->{name} );
say_that( "envelope", $client->get_envelope($uid)->messageid );
say_that( "part",    $client->bodypart_string( $uid, 1 ) );
say_that( "flags",   join ",", sort grep { !/Recent/ } $client->flags($uid) );
$client->mark($uid);
$client->set_flag( "Answered", $uid );
say_that( "flagged", join ",", $client->search("FLAGGED") );
say_that( "found",   join ",", $client->search( "SUBJECT", \'"from perl"', "ANSWERED" ) );
say_that( "none",    scalar( my @none = $client->search( "SUBJECT", \'"something else"' ) ) );
my $folder = 'Work "quoted" \ and/sub';
say_that( "created",    $client->create($folder) ? 1 : 0 );
say_that( "there",      $client->exists($folder) ? 1 : 0 );
say_that( "subscribed", $client->subscribe($folder) && scalar grep { $_ eq $folder } $client->subscribed );
say_that( "listed",     scalar grep { $_ eq $folder } $client->folders );
say_that( "separator",  $client->separator );
say_that( "parent",     $client->is_parent("Work \"quoted\" \\ and") );
say_that( "copied",     $client->copy( $folder, $uid ) );
say_that( "moved",      $client->move( $folder, $uid ) );
$client->expunge;
say_that( "left",    $client->message_count("INBOX") );
say_that( "in it",   $client->message_count($folder) );
say_that( "renamed", $client->rename( $folder, "Elsewhere" ) ? 1 : 0 );
$client->select("Elsewhere") or die $client->LastError;
say_that( "hashed", scalar keys %{ $client->fetch_hash( "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[HEADER]" ) } );
say_that( "removed", $client->delete_message( $client->messages ) );
say_that( "uid expunged", defined $client->uidexpunge( join ",", $client->messages ) );
$client->close;
say_that( "deleted",  $client->delete("Elsewhere") ? 1 : 0 );
say_that( "thread",   defined $client->select("INBOX") && defined $client->thread("REFERENCES") );
say_that( "bad",      $client->tag_and_run("NONSENSE") ? 1 : 0 );
say_that( "goes on",  $client->noop ? 1 : 0 );
say_that( "gone",     $client->logout ? 1 : 0 );
