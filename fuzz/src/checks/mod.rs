//! What holds for any input: run by the fuzzer on whatever it makes, and by the tests of lvsx-ipvsadm on what is kept in
//! `fuzz/seeds`.

#[allow(dead_code, reason = "the tests of lvsx-ipvs use all of it")]
#[path = "../../../crates/ipvs/tests/support/memory.rs"]
mod memory;

pub(crate) mod argv;
pub(crate) mod rules;

use lvsx_ipvs::{Client, Transport, answer};
use lvsx_ipvsadm::{Rules, Table, Wish, apply};
use memory::MemoryDirector;

/// A client of an empty director.
fn director() -> Client {
    let mut director = MemoryDirector::new();
    Client::new(Transport::local(move |datagram| {
        answer(datagram, &mut director)
    }))
}

/// Runs the words of a command line; its exit code, and what it printed.
fn run(words: &[String], client: &mut Client, input: &[u8]) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = lvsx_ipvsadm::run(words, client, input, &mut out, &mut err);
    assert!(
        matches!(code, 0 | 1 | 2 | 255),
        "{words:?} ends with {code}"
    );
    assert!(
        code == 0 || !err.is_empty(),
        "{words:?} fails without a word"
    );
    (code, String::from_utf8(out).expect("text"))
}

/// What is in force is saved in lines that make the same of an empty director.
fn saved_and_loaded_is_the_same(client: &mut Client) {
    let table = Table::read(client).expect("a table");
    let (lines, left_out) = table.lines();
    if !left_out.is_empty() {
        return;
    }
    let mut other = director();
    let mut rules = Rules::read("saved", lines.as_bytes());
    if let Err(why) = apply(&mut other, &mut rules, Wish::default()) {
        panic!("{why}\n{lines}");
    }
    let loaded = Table::read(&mut other).expect("a table");
    assert_eq!(loaded, table, "\n{lines}");
}
