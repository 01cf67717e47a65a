//! The servers themselves: they answer, are killed and come back with what they had.

use std::net::TcpStream;

use libtest_mimic::{Arguments, Failed, Trial};
use phoenix_test_servers::{Kind, Private, Server, trial};

fn main() {
    let mut arguments = Arguments::from_args();
    // two cores, and each server is a private one
    arguments.test_threads.get_or_insert(2);
    let databases = Kind::DATABASES.into_iter().flat_map(|kind| -> [Trial; 2] {
        [
            trial(kind, format!("{kind}: every database is a new one"), new_databases),
            trial(kind, format!("{kind}: a killed server comes back with its data"), killed),
        ]
    });
    let brokers = Kind::BROKERS.into_iter().map(|kind| {
        trial(kind, format!("{kind}: a killed broker comes back, and a frozen one takes connections"), broker)
    });
    libtest_mimic::run(&arguments, databases.chain(brokers).collect()).exit();
}

fn new_databases(server: &'static Server) -> Result<(), Failed> {
    let (first, second) = (server.database("a name's \"case\"")?, server.database("a name's \"case\"")?);
    if first == second {
        return Err(format!("the same database twice: {first}").into());
    }
    Ok(())
}

fn killed(server: &'static Server) -> Result<(), Failed> {
    let own = Private::start(server.kind())?;
    if own.address() == server.address() {
        return Err("a private server is that of all".into());
    }
    own.execute("CREATE TABLE kept (number INT PRIMARY KEY)")?;
    own.execute("INSERT INTO kept VALUES (1)")?;
    own.kill()?;
    if TcpStream::connect(own.address()).is_ok() {
        return Err("a killed server answers".into());
    }
    own.restart()?;
    // a second one with this key is refused only if the first is there
    match own.execute("INSERT INTO kept VALUES (1)") {
        Ok(()) => Err("the server has lost what it acknowledged".into()),
        Err(error) if error.to_string().to_lowercase().contains("duplicate") => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn broker(server: &'static Server) -> Result<(), Failed> {
    if server.execute("SELECT 1").is_ok() {
        return Err("a broker knows SQL".into());
    }
    let own = Private::start(server.kind())?;
    own.freeze()?;
    TcpStream::connect(own.address())?;
    own.thaw()?;
    own.kill()?;
    if TcpStream::connect(own.address()).is_ok() {
        return Err("a killed server answers".into());
    }
    own.restart()?;
    TcpStream::connect(own.address())?;
    Ok(())
}
