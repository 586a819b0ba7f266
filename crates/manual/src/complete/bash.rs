//! bash: a function of `complete -F`.

use super::{Command, Value, value};
use std::fmt::Write as _;

/// The completions of a program.
#[must_use]
pub fn bash(program: &Command) -> String {
    let function = program.function();
    let mut text = format!(
        "# Completions of {name} for bash.\n\
         {function}() {{\n    \
             local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} task= words= kind=words\n    \
             ((COMP_CWORD == 1)) || task=${{COMP_WORDS[1]}}\n    \
             case $task in\n",
        name = program.name,
    );
    // Writing to a String cannot fail.
    for word in &program.words {
        let _ = writeln!(
            text,
            "        {}) words='{}' ;;",
            word.name,
            word.candidates()
        );
    }
    let _ = writeln!(
        text,
        "        *) words='{}' ;;\n    esac\n    case $task,$before in",
        program.candidates()
    );
    for (task, command) in program
        .words
        .iter()
        .map(|word| (word.name.as_str(), word))
        .chain([("*", program)])
    {
        for option in &command.options {
            let names: Vec<_> = option
                .names()
                .map(|name| format!("{task},{name}"))
                .collect();
            let names = names.join("|");
            let _ = match value(option) {
                Some(Value::Words(words)) => {
                    writeln!(text, "        {names}) words='{}' ;;", words.join(" "))
                }
                Some(Value::File) => writeln!(text, "        {names}) kind=files ;;"),
                Some(Value::Other(_)) => writeln!(text, "        {names}) kind=other ;;"),
                None => Ok(()),
            };
        }
    }
    let _ = write!(
        text,
        "    esac\n    \
             case $kind in\n        \
                 words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\") ;;\n        \
                 files) mapfile -t COMPREPLY < <(compgen -f -- \"$current\") ;;\n        \
                 other) COMPREPLY=() ;;\n    \
             esac\n\
         }}\n\
         complete -o default -F {function} {name}\n",
        name = program.name,
    );
    text
}
