//! A plugin that answers and runs without waiting for anything, for the tests of the host.

use peerup_plugin_sdk::{Answer, Arguments, Error, Fact, Question, TaskCommand};

struct Sync;

peerup_plugin_sdk::register!(Sync: answer, task);

impl Answer for Sync {
    fn answer(question: Question, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        match body.as_slice() {
            b"error" => Err(Error::refused("asked to fail")),
            b"trap" => std::process::abort(),
            b"loop" => loop {
                std::hint::black_box(());
            },
            b"large" => Ok(vec![7; 3 << 20]),
            b"huge" => Ok(vec![7; 5 << 20]),
            b"huge error" => Err(Error::refused("x".repeat(5 << 20))),
            _ => {
                let service = question.service.unwrap_or_default();
                let mut answer = format!("{} {} ", question.peer, service).into_bytes();
                answer.extend(body.to_ascii_uppercase());
                Ok(answer)
            }
        }
    }
}

impl TaskCommand for Sync {
    fn run(name: String, _: Arguments) -> Result<Vec<Fact>, Error> {
        let fact = |text: &str, json: &str| Fact {
            text: text.to_owned(),
            json: json.to_owned(),
        };
        match name.as_str() {
            "greet" => Ok(vec![
                fact("hello", "{\"number\": 1}"),
                fact("again", "{\"number\": 2}"),
            ]),
            "garbage" => Ok(vec![fact("hello", "no json")]),
            "many" => Ok(vec![fact("again", "{}"); 1000]),
            "endless" => Ok(vec![fact(&"x".repeat(1 << 20), "{}"); 10]),
            "loop" => loop {
                std::hint::black_box(());
            },
            "trap" => std::process::abort(),
            other => Err(Error::invalid(format!("no command {other:?}"))),
        }
    }
}
