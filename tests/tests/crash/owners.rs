//! A file or folder has one owner.

use libtest_mimic::Trial;

use crate::service::Setup;
use crate::stores::{FILES, Place, on_each};

fn a_second_process_is_refused_while_the_first_lives(place: &Place) {
    let setup = Setup::new(place);
    let first = setup.start().expect("nobody else is there");

    let refusal = setup.start().err().expect("there is an owner");
    for part in [&format!("process {} owns it", first.process()), ".lock", "stop that one"] {
        assert!(refusal.contains(part), "`{part}` is missing in: {refusal}");
    }

    first.kill();
    setup.start().expect("the owner is gone");
}

pub(crate) fn trials() -> Vec<Trial> {
    on_each!(FILES, a_second_process_is_refused_while_the_first_lives)
}
