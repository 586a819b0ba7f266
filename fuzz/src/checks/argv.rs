//! Command lines, one after another on the same director: each ends with an exit code of ipvsadm's, and one that fails
//! changes nothing.
//!
//! Lines of words between single blanks, where `~` stands for a blank within a word. What begins with `< ` is input of the
//! line before. No word has a zero byte, as none in argv has.

use super::{director, run, saved_and_loaded_is_the_same};
use lvsx_ipvsadm::Table;

/// Command lines that one input may have.
const LINES: usize = 12;

/// Any bytes as command lines.
pub(crate) fn check(bytes: &[u8]) {
    let mut client = director();
    let text = String::from_utf8_lossy(bytes);
    for (words, input) in lines(&text) {
        let before = Table::read(&mut client).expect("a table");
        let (code, printed) = run(&words, &mut client, input.as_bytes());
        let after = Table::read(&mut client).expect("a table");
        let is_restore = !input.is_empty();
        assert!(
            code == 0 || is_restore || after == before,
            "{words:?} fails with {code}, and changes the table"
        );
        let is_json = words.iter().any(|word| word == "--json") && printed.starts_with('{');
        if is_json {
            let read = serde_json::from_str::<serde_json::Value>(&printed);
            assert!(read.is_ok(), "{words:?} prints {printed}");
        }
    }
    saved_and_loaded_is_the_same(&mut client);
}

fn lines(text: &str) -> Vec<(Vec<String>, String)> {
    let mut lines: Vec<(Vec<String>, String)> = Vec::new();
    for line in text.split('\n').take(LINES) {
        match (line.strip_prefix("< "), lines.last_mut()) {
            (Some(input), Some((_, whole))) => {
                whole.push_str(input);
                whole.push('\n');
            }
            _ if line.is_empty() => lines.push((Vec::new(), String::new())),
            _ => {
                let line = line.replace('\0', "");
                let words = line.split(' ').map(|word| word.replace('~', " "));
                lines.push((words.collect(), String::new()));
            }
        }
    }
    lines
}
