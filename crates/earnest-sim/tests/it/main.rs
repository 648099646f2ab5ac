//! Whole studies, from the file to the answers.

mod hindcasts;
