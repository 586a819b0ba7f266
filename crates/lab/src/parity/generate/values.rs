//! Values, most of them wrong or odd, where an option takes one.

use super::super::line::{Group, Line};
use super::grammar::CARRIERS;
use super::on_the_table;
use crate::conform::generate::dice::Dice;

/// Values at chance places; all of them, once `count` is large.
pub(super) fn groups(dice: &mut Dice, count: usize) -> Vec<Group> {
    let mut all = Vec::new();
    for (kind, carrier) in CARRIERS {
        all.extend(kind.values().iter().map(|value| (carrier, *value)));
    }
    let mut lines = Vec::new();
    while lines.len() < count {
        let wanted = count - lines.len();
        let chosen = dice.some(&all, wanted);
        lines.extend(
            chosen
                .into_iter()
                .map(|(carrier, value)| with(carrier, value)),
        );
    }
    on_the_table("values", &lines)
}

/// The line with the value where `@` stands.
fn with(carrier: &str, value: &str) -> Line {
    let words = carrier.split(' ').map(|word| word.replace('@', value));
    Line::ipvsadm(words.collect())
}
