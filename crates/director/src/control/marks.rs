//! Mark rules: the list that operators change, and what interface names mean at the moment.

use super::Control;
use super::draft::Draft;
use crate::concerns;
use crate::config::Marked;
use lvsx_core::generation::{MOST_MARK_RULES, MOST_PREFIXES};
use lvsx_ipvs::{Errno, MarkEdit, MarkRule, Refused};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Draft<'_> {
    /// Applies the changes one after another, all or none.
    pub(super) fn change_marks(&mut self, edits: &[MarkEdit]) -> Result<(), Refused> {
        let mut marks: Vec<Marked> = self.config.marks.to_vec();
        for edit in edits {
            match edit {
                MarkEdit::Add(rule) => marks.push(self.control.marked(rule.clone())),
                MarkEdit::Flush => marks.clear(),
                MarkEdit::Delete(rule) => {
                    let place = marks.iter().rposition(|marked| marked.rule == *rule);
                    let missing = || {
                        let why = format!(
                            "there is no rule `{rule}`; `lvsx mark list` shows those there are"
                        );
                        Refused::new(Errno::ENOENT, why)
                    };
                    marks.remove(place.ok_or_else(missing)?);
                }
            }
        }
        let most = MOST_MARK_RULES as usize;
        if marks.len() > most {
            let why = format!(
                "{} rules are too many: at most {most}; prefixes and port ranges say much in one rule",
                marks.len()
            );
            return Err(Refused::new(Errno::ENOMEM, why));
        }
        if let Some(prefix) = concerns::beyond(&marks, self.control.ours()) {
            let why = format!(
                "{prefix} is the {}th large prefix that is routed as local and that rules concern; there is place for {MOST_PREFIXES}: say `to` with one that spans several, or with longer ones",
                MOST_PREFIXES + 1
            );
            return Err(Refused::new(Errno::EINVAL, why));
        }
        if *self.config.marks != marks {
            self.config.marks = Arc::new(marks);
        }
        Ok(())
    }
}

impl Control {
    /// Takes note of the interfaces that there are; rules that name one that came or went are put in force.
    ///
    /// # Errors
    /// `ENOMEM`: the arena does not hold the rules.
    pub fn set_interfaces(&mut self, interfaces: BTreeMap<String, u32>) -> Result<(), Errno> {
        self.interfaces = interfaces;
        let rules = self.config().marks.iter();
        let marks: Vec<Marked> = rules
            .map(|marked| self.marked(marked.rule.clone()))
            .collect();
        if *self.config().marks == marks {
            return Ok(());
        }
        let mut config = self.config().clone();
        config.marks = Arc::new(marks);
        self.put_in_force(config)
    }

    fn marked(&self, rule: MarkRule) -> Marked {
        let index = |name| self.interfaces.get(name).copied();
        Marked {
            interface: rule.interface.as_ref().and_then(index),
            rule,
        }
    }
}
