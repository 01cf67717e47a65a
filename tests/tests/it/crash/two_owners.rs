//! A file has one owner.

use crate::crash::service::Setup;

#[test]
fn a_second_process_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = |log: &str| Setup::new(folder.path(), &folder.path().join(log));
    let first = setup("first.log").start().expect("nobody else is there");

    let refusal = setup("second.log").start().err().expect("the file has an owner");
    let expected =
        [format!("process {} owns it", first.process()), "bank.db.lock".to_owned(), "stop that one".to_owned()];
    for part in expected {
        assert!(refusal.contains(&part), "`{part}` is missing in: {refusal}");
    }

    first.kill();
    setup("third.log").start().expect("the owner is gone");
}
