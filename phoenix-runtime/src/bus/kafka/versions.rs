//! Whether brokers speak the versions of the protocol that kafka-rust does. Asked with a socket of our own: kafka-rust
//! itself would only see a connection that ends.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::bus::BusError;

/// What kafka-rust asks, and in which version.
const NEEDED: [(i16, i16, &str); 7] = [
    (0, 0, "Produce"),
    (1, 0, "Fetch"),
    (2, 0, "ListOffsets"),
    (3, 0, "Metadata"),
    (8, 1, "OffsetCommit"),
    (9, 1, "OffsetFetch"),
    (10, 0, "FindCoordinator"),
];

/// An answer is a few bytes a request that the broker knows.
const MAX_ANSWER: u32 = 64 << 10;

/// Asks the first broker that answers.
pub(super) fn check(hosts: &[String], limit: Duration) -> Result<(), BusError> {
    let mut failed = Vec::new();
    for host in hosts {
        match ask(host, limit) {
            Ok(versions) => return judge(host, &versions),
            Err(error) => failed.push(format!("{host}: {error}")),
        }
    }
    Err(BusError::Unavailable(format!("no broker says what it speaks ({})", failed.join("; "))))
}

fn judge(host: &str, versions: &[(i16, i16, i16)]) -> Result<(), BusError> {
    for (key, version, name) in NEEDED {
        let found = versions.iter().find(|(found, ..)| *found == key);
        let from = match found {
            Some((_, from, to)) if (*from..=*to).contains(&version) => continue,
            Some((_, from, _)) => format!("from version {from} on"),
            None => "not at all".to_owned(),
        };
        return Err(BusError::Unsupported(format!(
            "the broker {host} speaks {name} {from}, and this adapter (kafka-rust) version {version}, as brokers up to \
             Kafka 3.9 do: for Kafka 4 build with the feature `rdkafka`, and write `rdkafka://` in place of `kafka://` as \
             the bus"
        )));
    }
    Ok(())
}

/// The requests that it knows, each with its oldest and newest version.
fn ask(host: &str, limit: Duration) -> io::Result<Vec<(i16, i16, i16)>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut stream = None;
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = error,
        }
    }
    let Some(mut stream) = stream else { return Err(last) };
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // its length; ApiVersions (18) in version 0; number 0; nobody's name
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xff, 0xff])?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size);
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it answers as no broker does");
    if size > MAX_ANSWER {
        return Err(wrong());
    }
    let mut answer = Vec::new();
    stream.take(u64::from(size)).read_to_end(&mut answer)?;
    // the number again, an error code, how many
    let (head, rows) = answer.split_at_checked(10).ok_or_else(wrong)?;
    if head[..6] != [0; 6] {
        return Err(wrong());
    }
    let rows = rows.chunks_exact(6).map(|row| {
        let number = |at: usize| i16::from_be_bytes([row[at], row[at + 1]]);
        (number(0), number(2), number(4))
    });
    Ok(rows.collect())
}
