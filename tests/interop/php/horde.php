<?php
// Horde_Imap_Client, of Nextcloud's Mail and of IMP: it uses whatever is announced. Arguments: the ports of submission,
// imap and pop3, the user, the password, a file for its log. What it finds is printed, "name=value" a line.

spl_autoload_register(function (string $class): void {
    $file = stream_resolve_include_path(str_replace(["_", "\\"], "/", $class) . ".php");
    if ($file !== false) {
        require_once $file;
    }
});
error_reporting(E_ALL & ~E_DEPRECATED & ~E_WARNING & ~E_NOTICE);

[, , $imap, , $user, $password, $log] = $argv;

function say(string $name, mixed $value): void
{
    echo $name, "=", is_string($value) ? $value : json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES), "\n";
}

$text = fn(int $number, string $subject) => implode("\r\n", [
    "From: =?utf-8?q?B=C3=A4r?= <baer@example.org>", "To: alice@example.test", "Subject: $subject",
    "Message-ID: <horde-$number@example.test>", "Date: Tue, 24 Nov 2026 10:00:0$number +0000", "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: quoted-printable", "", "Gr=C3=BC=C3=9Fe $number", "--b",
    "Content-Type: application/pdf; name=plan.pdf", "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment; filename=plan.pdf", "", base64_encode(str_repeat("x", 30)), "--b--", "",
]);
$options = [
    "username" => $user, "password" => $password, "hostspec" => "127.0.0.1", "port" => $imap, "secure" => "tls",
    "context" => ["ssl" => ["verify_peer" => false, "verify_peer_name" => false]], "debug" => $log, "timeout" => 20,
    "cache" => ["backend" => new Horde_Imap_Client_Cache_Backend_Null()], "id" => ["name" => "Horde"],
];
$client = new Horde_Imap_Client_Socket($options);
$client->login();
say("namespaces", count($client->getNamespaces()));
$folder = Horde_Imap_Client_Mailbox::get("Büro/Größe & mehr");
$client->createMailbox($folder, ["special_use" => []]);
$client->subscribeMailbox($folder, true);
$uids = [];
foreach (["=?utf-8?b?5Lya6K6u?=", "second", "Re: second"] as $number => $subject) {
    $ids = $client->append($folder, [["data" => $text($number, $subject), "flags" => $number ? [] : ["\\Seen", "work"]]]);
    $uids = array_merge($uids, $ids->ids);
}
say("uids", $uids);
$drafts = $client->append("Drafts", [["data" => [["t" => "text", "v" => $text(7, "put together")]], "flags" => ["\\Draft"]]]);
say("appended", count($drafts));
$client->openMailbox($folder, Horde_Imap_Client::OPEN_READWRITE);
$status = $client->status($folder, Horde_Imap_Client::STATUS_ALL | Horde_Imap_Client::STATUS_HIGHESTMODSEQ);
say("status", [$status["messages"], $status["unseen"], $status["uidnext"]]);
$modseq = $status["highestmodseq"];
$listed = $client->listMailboxes("*", Horde_Imap_Client::MBOX_ALL, [
    "attributes" => true, "special_use" => true, "children" => true, "status" => Horde_Imap_Client::STATUS_MESSAGES,
]);
say("listed", isset($listed["$folder"]) ? $listed["$folder"]["status"]["messages"] : false);
say("special", in_array("\\sent", $listed["Sent"]["attributes"]));
say("subscribed", count($client->listMailboxes("*", Horde_Imap_Client::MBOX_SUBSCRIBED, ["flat" => true])));

$query = new Horde_Imap_Client_Fetch_Query();
$query->envelope();
$query->flags();
$query->imapDate();
$query->size();
$query->uid();
$query->structure();
$query->modseq();
$query->headers("threading", ["References", "List-Id"], ["cache" => true, "peek" => true]);
$query->headerText(["peek" => true]);
$query->bodyPart("1", ["decode" => true, "peek" => true]);
$query->bodyPartSize("2", ["decode" => true]);
$query->fullText(["peek" => true]);
$found = $client->fetch($folder, $query, ["ids" => new Horde_Imap_Client_Ids($uids)]);
$first = $found[$uids[0]];
say("subject", $first->getEnvelope()->subject);
say("from", $first->getEnvelope()->from[0]->bare_address);
say("flags", $first->getFlags());
say("whole", $first->getFullMsg() === $text(0, "=?utf-8?b?5Lya6K6u?="));
say("size", $first->getSize() === strlen($first->getFullMsg()));
say("decoded", $first->getBodyPartDecode("1") . ":" . $first->getBodyPart("1"));
say("decoded size", $first->getBodyPartSize("2"));
say("parts", array_keys($first->getStructure()->contentTypeMap()));
say("modseq", $first->getModSeq() > 0);

$search = function (callable $fill, array $more = []) use ($client, $folder): array {
    $query = new Horde_Imap_Client_Search_Query();
    $fill($query);
    $result = $client->search($folder, $query, $more);
    return $result["match"]->ids;
};
say("by subject", $search(fn($q) => $q->headerText("subject", "会议") ?? $q->charset("UTF-8", false)));
say("by text", $search(fn($q) => $q->text("Grüße 1") ?? $q->charset("UTF-8", false)));
say("unseen", $search(fn($q) => $q->flag("\\seen", false)));
say("newest first", $search(fn($q) => null, ["sort" => [Horde_Imap_Client::SORT_REVERSE, Horde_Imap_Client::SORT_DATE]]));
say("by sender", count($search(fn($q) => null, ["sort" => [Horde_Imap_Client::SORT_DISPLAYFROM]])));
say("young", count($search(fn($q) => $q->intervalSearch(3600, Horde_Imap_Client_Search_Query::INTERVAL_YOUNGER))));
$either = new Horde_Imap_Client_Search_Query();
$either->headerText("message-id", "<horde-1@example.test>");
say("either", $search(fn($q) => $q->headerText("message-id", "<horde-2@example.test>") ?? $q->orSearch([$either])));
say("threads", count($client->thread($folder, ["criteria" => Horde_Imap_Client::THREAD_REFERENCES])->getThread($uids[1])));

$client->store($folder, ["add" => ["\\flagged", "\$label1"], "ids" => new Horde_Imap_Client_Ids([$uids[1]])]);
$stale = $client->store($folder, ["add" => ["\\deleted"], "ids" => new Horde_Imap_Client_Ids([$uids[1]]), "unchangedsince" => $modseq]);
say("stale", $stale->ids);
$changed = new Horde_Imap_Client_Fetch_Query();
$changed->flags();
say("changed", array_keys(iterator_to_array($client->fetch($folder, $changed, ["changedsince" => $modseq]))));
$copied = $client->copy($folder, "Archive", ["ids" => new Horde_Imap_Client_Ids([$uids[1]]), "force_map" => true]);
say("copied", array_keys($copied));
$moved = $client->copy($folder, "Trash", ["ids" => new Horde_Imap_Client_Ids([$uids[0]]), "move" => true, "force_map" => true]);
say("moved", array_keys($moved));

// It leaves, another one changes, and it comes back knowing where it was.
$before = $client->status($folder, Horde_Imap_Client::STATUS_HIGHESTMODSEQ | Horde_Imap_Client::STATUS_UIDVALIDITY);
$token = $client->getSyncToken($folder);
$client->close();
$other = new Horde_Imap_Client_Socket($options);
$other->openMailbox($folder, Horde_Imap_Client::OPEN_READWRITE);
$other->store($folder, ["add" => ["\\answered"], "ids" => new Horde_Imap_Client_Ids([$uids[2]])]);
$other->expunge($folder, ["ids" => new Horde_Imap_Client_Ids([$uids[1]]), "delete" => true]);
$other->append($folder, [["data" => $text(8, "new")]]);
$other->logout();
$sync = $client->sync($folder, $token, ["ids" => new Horde_Imap_Client_Ids($uids)]);
say("new", count($sync->newmsgsuids));
say("flagged since", $sync->flagsuids->ids);
say("gone", $sync->vanisheduids->ids);

say("quota", is_array($client->getQuotaRoot("INBOX")));
say("rights", (string) $client->getMyACLRights($folder) !== "");
say("acl", count($client->getACL($folder)));
$client->setMetadata("INBOX", ["/private/comment" => "hier"]);
say("metadata", $client->getMetadata("INBOX", "/private/comment")["INBOX"]["/private/comment"]);
$client->renameMailbox($folder, "Büro/Neu");
$client->subscribeMailbox($folder, false);
$client->deleteMailbox("Büro/Neu");
say("left", count($client->listMailboxes("Büro*", Horde_Imap_Client::MBOX_ALL, ["flat" => true])));
$client->logout();
