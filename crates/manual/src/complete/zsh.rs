//! zsh: a file of `compdef`, with `_arguments` and `_describe`.

use super::{Command, Value, brief, value};
use std::fmt::Write as _;

/// The completions of a program.
#[must_use]
pub fn zsh(program: &Command) -> String {
    let mut text = format!("#compdef {}\n", program.name);
    if program.words.is_empty() {
        text += &arguments(program);
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "if ((CURRENT == 2)); then");
    text += &described(program);
    let _ = writeln!(text, "    return\nfi\ncase $words[2] in");
    for word in &program.words {
        let _ = writeln!(text, "{})", word.name);
        if !word.words.is_empty() {
            text += &described(word);
        }
        if !word.options.is_empty() {
            text += &arguments(word);
        }
        let _ = writeln!(text, "    ;;");
    }
    text += "esac\n";
    text
}

fn described(command: &Command) -> String {
    let mut text = "    local -a tasks=(\n".to_owned();
    for word in &command.words {
        let _ = writeln!(text, "        '{}:{}'", word.name, brief(&word.text));
    }
    text + "    )\n    _describe task tasks\n"
}

fn arguments(command: &Command) -> String {
    let mut text = "    _arguments -S".to_owned();
    for option in &command.options {
        for name in option.names() {
            let _ = write!(text, " \\\n        '{name}[{}]", brief(&option.text));
            let _ = match value(option) {
                Some(Value::Words(words)) => write!(text, ":value:({})'", words.join(" ")),
                Some(Value::File) => write!(text, ":FILE:_files'"),
                Some(Value::Other(written)) => {
                    write!(text, ":{}: '", written.replace([':', '\''], " "))
                }
                None => write!(text, "'"),
            };
        }
    }
    text + " \\\n        '*:file:_files'\n"
}
