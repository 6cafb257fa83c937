//! The messages of RFC 1035: a question for one TXT record, and what an answer to it means.
//!
//! Pure. An answer is looked at with suspicion: whoever can send a datagram can send one.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use peerup_plugin_sdk::Error;

/// What a datagram may hold: safe from fragments everywhere.
const MAX_DATAGRAM: u16 = 1232;
/// How TXT records of this kind begin.
const PEER: &str = "peer=";
/// Peer ids have 46 to 62 characters.
const PEER_LENGTHS: std::ops::RangeInclusive<usize> = 46..=62;

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The answer, and what it says.
    Is(Verdict),
    /// It did not fit.
    Truncated,
    /// No answer to the question.
    Foreign,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The name stands for this peer, for so many seconds.
    Peer {
        /// As it stands in the record; the host checks it.
        id: String,
        /// Of the record that lives shortest.
        ttl: u32,
    },
    /// There is no such record.
    Unknown,
    /// There is one that makes no sense, or the server has a problem.
    Wrong(String),
}

/// Makes the question for `_peerup.HOST`.
pub(crate) fn question(host: &str) -> Result<Vec<u8>, Error> {
    let mut name = Name::from_ascii(format!("_peerup.{host}"))
        .map_err(|error| Error::invalid(format!("{host:?} is no name of the DNS: {error}")))?;
    name.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::TXT));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_DATAGRAM);
    message.edns = Some(edns);
    message
        .to_vec()
        .map_err(|error| Error::invalid(format!("{host:?} cannot be asked for: {error}")))
}

/// Reads what came as an answer to that question.
pub(crate) fn read(bytes: &[u8], question: &[u8]) -> Reply {
    let (Ok(answer), Ok(asked)) = (Message::from_vec(bytes), Message::from_vec(question)) else {
        return Reply::Foreign;
    };
    let belongs = answer.metadata.id == asked.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query
        && answer.queries == asked.queries;
    if !belongs {
        return Reply::Foreign;
    }
    if answer.metadata.truncation {
        return Reply::Truncated;
    }
    Reply::Is(match answer.metadata.response_code {
        ResponseCode::NoError => verdict(&answer),
        ResponseCode::NXDomain => Verdict::Unknown,
        other => Verdict::Wrong(format!("the server says {other}")),
    })
}

fn verdict(answer: &Message) -> Verdict {
    let mut found: Option<(String, u32)> = None;
    // Behind an alias the record has another name; the server followed it.
    for record in &answer.answers {
        let RData::TXT(txt) = &record.data else { continue };
        let text: Vec<u8> = txt
            .txt_data
            .iter()
            .flat_map(|part| part.iter().copied())
            .collect();
        let Some(id) = peer_of(&text) else { continue };
        match &mut found {
            Some((known, _)) if *known != id => {
                return Verdict::Wrong("two records name two peers".to_owned());
            }
            Some((_, ttl)) => *ttl = record.ttl.min(*ttl),
            None => found = Some((id, record.ttl)),
        }
    }
    found.map_or(Verdict::Unknown, |(id, ttl)| Verdict::Peer { id, ttl })
}

/// The peer id in a record; none of a record that is about something else.
fn peer_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let id = text.strip_prefix(PEER)?.trim();
    let plausible = PEER_LENGTHS.contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric());
    plausible.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Record, rdata::TXT};

    use super::*;

    const PEER_A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const PEER_B: &str = "12D3KooWEijxhchm8uv1k6wGjQPucQWGiNNZgLfxW5yKV7tGW57N";

    /// The answer of an honest server.
    fn answer(question: &[u8], records: &[(&str, u32)]) -> Message {
        let asked = Message::from_vec(question).unwrap();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        let query = asked.queries[0].clone();
        for (text, ttl) in records {
            let data = RData::TXT(TXT::new(vec![(*text).to_owned()]));
            answer
                .answers
                .push(Record::from_rdata(query.name().clone(), *ttl, data));
        }
        answer.add_query(query);
        answer
    }

    fn read_answer(answer: &Message, question: &[u8]) -> Reply {
        read(&answer.to_vec().unwrap(), question)
    }

    #[test]
    fn a_record_names_a_peer_for_its_time() {
        let question = question("home.example.org").unwrap();
        let text = format!("peer={PEER_A}");
        let reply = read_answer(
            &answer(&question, &[("v=spf1 -all", 9), (&text, 60), (&text, 30)]),
            &question,
        );
        let id = PEER_A.to_owned();
        assert_eq!(reply, Reply::Is(Verdict::Peer { id, ttl: 30 }));
    }

    #[test]
    fn no_record_of_this_kind_and_no_such_name_are_unknown() {
        let question = question("home.example.org").unwrap();
        for records in [
            &[][..],
            &[("hello", 60)],
            &[("peer=../../etc", 60)],
            &[("peer=", 1)],
        ] {
            let reply = read_answer(&answer(&question, records), &question);
            assert_eq!(reply, Reply::Is(Verdict::Unknown));
        }
        let mut none = answer(&question, &[]);
        none.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(read_answer(&none, &question), Reply::Is(Verdict::Unknown));
    }

    #[test]
    fn contradictions_and_failures_are_told() {
        let question = question("home.example.org").unwrap();
        let two = [format!("peer={PEER_A}"), format!("peer={PEER_B}")];
        let records = [(two[0].as_str(), 60), (two[1].as_str(), 60)];
        let reply = read_answer(&answer(&question, &records), &question);
        assert!(matches!(reply, Reply::Is(Verdict::Wrong(_))), "{reply:?}");
        let mut failed = answer(&question, &[]);
        failed.metadata.response_code = ResponseCode::ServFail;
        let reply = read_answer(&failed, &question);
        assert!(matches!(reply, Reply::Is(Verdict::Wrong(_))), "{reply:?}");
        let mut cut = answer(&question, &[]);
        cut.metadata.truncation = true;
        assert_eq!(read_answer(&cut, &question), Reply::Truncated);
    }

    #[test]
    fn what_belongs_to_another_question_is_foreign() {
        let question = question("home.example.org").unwrap();
        let text = format!("peer={PEER_A}");
        let honest = answer(&question, &[(&text, 60)]);
        let mut other_id = honest.clone();
        other_id.metadata.id = honest.metadata.id.wrapping_add(1);
        let mut no_answer = honest.clone();
        no_answer.metadata.message_type = MessageType::Query;
        let mut other_name = honest.clone();
        other_name.queries = Message::from_vec(&super::question("evil.example.org").unwrap())
            .unwrap()
            .queries;
        for forged in [other_id, no_answer, other_name] {
            assert_eq!(read_answer(&forged, &question), Reply::Foreign);
        }
        for bytes in [&[][..], &[0; 11], &[0xff; 600], &question[..question.len() / 2]] {
            assert_eq!(read(bytes, &question), Reply::Foreign);
        }
    }

    #[test]
    fn what_is_no_name_of_the_dns_is_refused() {
        assert!(question(&"x".repeat(64)).is_err());
        assert!(question(&"x.".repeat(130)).is_err());
        assert!(question("a..b").is_err());
    }
}
