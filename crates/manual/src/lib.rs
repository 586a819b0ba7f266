//! Manual pages and completions, made from what the programs say of themselves.
//!
//! A program's help text is read back as data ([`help`]): what it is called with, its options, what they mean. Pages
//! ([`page`]) are texts in Markdown with these parts put in their places, written as roff; [`complete`] writes what the
//! shells read. So what a program comes to understand tomorrow, and says in its help, is in its page and completed.

pub mod complete;
pub mod help;
pub mod page;

pub use help::{Help, Row};
pub use page::{Block, Page};
