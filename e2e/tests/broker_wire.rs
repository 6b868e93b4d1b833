//! Whatever arrives on a connection, the process lives, its memory is bounded and other clients are served.

#[path = "wire/fuzz.rs"]
mod fuzz;
#[path = "wire/requests.rs"]
mod requests;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::program;
use e2e::lane::broker::{self, Bench, story};
use e2e::server::Server;
use e2e::step::say;
use e2e::wire;
use fuzz::{Random, framed, mutated, nonsense};
use requests::{CORRELATION, Real, TOPIC};
use uuid::Uuid;

/// The topic of the client that must be served all the while.
const CONTROL: &str = "control";
/// What a frame may cost is bounded by one budget of 256 MiB (where no cgroup says another); buffers of a thousand
/// connections and everything else fit into as much again.
const PEAK_KIB_MAX: u64 = 512 * 1024;
/// How long an answer is waited for that may never come: a flipped bit can make a fetch wait for an hour.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another client may wait meanwhile, on a debug build and a busy machine. A connection that only holds
/// something up is closed after 60 s, so one that blocks others shows.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// What came back on a connection that we closed for writing.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered(Vec<u8>),
    Closed,
    Silent,
}

impl Outcome {
    /// The answer to our request.
    fn answer(self) -> Result<Vec<u8>> {
        match self {
            Self::Answered(answer) if answer.starts_with(&CORRELATION) => Ok(answer),
            Self::Answered(answer) => Err(anyhow!("an answer to something else: {answer:?}")),
            Self::Closed => Err(anyhow!("the connection was closed")),
            Self::Silent => Err(anyhow!("no answer came")),
        }
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("send at once")?;
    stream.set_read_timeout(Some(PATIENCE)).context("limit the wait for an answer")?;
    stream.set_write_timeout(Some(PATIENCE)).context("limit the wait for room")?;
    Ok(stream)
}

/// Sends bytes on a connection of their own.
fn send(address: &str, bytes: &[u8]) -> Result<Outcome> {
    let mut stream = connect(address)?;
    // The peer may close before it has read everything.
    if stream.write_all(bytes).is_err() {
        return Ok(Outcome::Closed);
    }
    let mut size = [0; 4];
    match stream.read_exact(&mut size) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            return Ok(Outcome::Silent);
        }
        Err(_) => return Ok(Outcome::Closed),
    }
    let size = usize::try_from(u32::from_be_bytes(size))?;
    ensure!(size < 64 << 20, "an answer of {size} bytes");
    let mut body = vec![0; size];
    stream.read_exact(&mut body).context("an answer that ends too soon")?;
    let _ = stream.shutdown(Shutdown::Both);
    Ok(Outcome::Answered(body))
}

/// A started broker with both topics, and every request that it advertises.
fn start(bench: &Bench) -> Result<(Server, Uuid, Vec<Real>)> {
    // Both sides of a thousand connections, also where the soft limit is 1,024.
    let limit =
        format!("--nofile=8192:{}", fs::read_to_string("/proc/self/limits").map(|text| hard_limit(&text))?);
    program("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).read()?;
    let mut server = bench.dev("data")?;
    server.start()?;
    for topic in [TOPIC, CONTROL] {
        broker::create_topic(server.address(), topic, 1, &[])?;
    }
    let metadata = fs::read_to_string(bench.path(&format!("data/{TOPIC}-0/partition.metadata")))
        .context("read the topic's id")?;
    let id = metadata.lines().find_map(|line| line.strip_prefix("topic_id: ")).context("no topic id")?;
    let topic_id = uuid_of(id.trim())?;
    let versions = framed(&[0, 18, 0, 0, 0, 0, 0, 42, 0, 0]);
    let answer = send(server.address(), &versions)?.answer().context("ApiVersions")?;
    let advertised = requests::advertised(answer.get(4..).context("too short")?)?;
    ensure!(advertised.len() > 10, "few keys are advertised: {advertised:?}");
    let real = requests::all(&advertised, topic_id)?;
    Ok((server, topic_id, real))
}

fn hard_limit(limits: &str) -> String {
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(4).unwrap_or("8192").to_owned()
}

/// Kafka writes uuids as base64 for URLs.
fn uuid_of(text: &str) -> Result<Uuid> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    ensure!(text.len() == 22, "no uuid: {text:?}");
    let digits = text.chars().map(|c| DIGITS.find(c).with_context(|| format!("no uuid: {text:?}")));
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits {
        bits = (bits << 6 | u32::try_from(digit?)?) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff)?);
        }
    }
    Ok(Uuid::from_slice(&bytes)?)
}

/// Runs `attack` while another client produces, one record after the other; each must be acknowledged soon. Then
/// checks the process, its memory, and that every record of that client is there.
fn while_another_is_served(
    bench: &Bench,
    server: &mut Server,
    attack: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let address = server.address().to_owned();
    let over = AtomicBool::new(false);
    let (attacked, served) = thread::scope(|scope| {
        let client = scope.spawn(|| serve_another(&address, &over));
        let attacked = attack(&address);
        over.store(true, Ordering::Relaxed);
        (attacked, client.join())
    });
    attacked?;
    let written = served.map_err(|_| anyhow!("the other client panicked"))??;
    server.check_alive()?;
    let memory = server.memory()?;
    let (now, peak) = (memory.resident_kib, memory.peak_kib);
    say(&format!("memory: {now} KiB now, {peak} KiB at most; {written} records meanwhile"));
    ensure!(memory.peak_kib < PEAK_KIB_MAX, "{} KiB were held", memory.peak_kib);
    let read = bench.kcat.consume_values(&address, CONTROL)?.len();
    ensure!(read >= written, "{written} records were acknowledged to the other client, {read} are there");
    Ok(())
}

/// Produces until it is over; returns how many records were acknowledged. At least one is sent after the end.
fn serve_another(address: &str, over: &AtomicBool) -> Result<usize> {
    let mut count = 0;
    loop {
        let last = over.load(Ordering::Relaxed);
        let mut stream = TcpStream::connect(address).context("the other client cannot connect")?;
        stream.set_read_timeout(Some(SERVED_WITHIN)).context("limit the wait")?;
        let request = wire::produce(CONTROL, format!("record {count}").as_bytes());
        wire::exchange(&mut stream, &request)
            .and_then(|answer| wire::produced(&answer))
            .with_context(|| format!("the other client is not served its record {count}"))?;
        count += 1;
        if last {
            return Ok(count);
        }
    }
}

#[test]
fn every_advertised_request_is_answered_and_none_of_its_mutations_harms() -> Result<()> {
    const MUTATIONS: usize = 40;
    const NONSENSE: usize = 500;
    story("wire-fuzz", |bench| {
        let (mut server, _, real) = start(bench)?;
        for request in &real {
            let answer = send(server.address(), &framed(&request.frame))?.answer();
            answer.with_context(|| format!("key {}, version {}", request.key, request.version))?;
        }
        let mut random = Random::seeded();
        while_another_is_served(bench, &mut server, |address| {
            for request in &real {
                for _ in 0..MUTATIONS {
                    send(address, &mutated(request, &mut random))?;
                }
            }
            let (host, port) = address.split_once(':').context("an address without a port")?;
            let controller = format!("{host}:{}", port.parse::<u16>()? + 1);
            for number in 0..NONSENSE {
                send(if number % 2 == 0 { address } else { &controller }, &nonsense(&mut random))?;
            }
            Ok(())
        })?;
        server.stop()
    })
}

#[test]
fn what_cannot_be_a_request_closes_its_connection_at_once() -> Result<()> {
    story("wire-refused", |bench| {
        let (mut server, _, _) = start(bench)?;
        while_another_is_served(bench, &mut server, |address| {
            let header = |key: u16, version: u16| {
                let mut body = [key.to_be_bytes(), version.to_be_bytes()].concat();
                body.extend(CORRELATION);
                body.extend([0, 1, b'x']);
                framed(&body)
            };
            for (what, bytes) in [
                ("a negative length", vec![0xff; 4]),
                ("a length of 2 GiB", [&[0x7f, 0xff, 0xff, 0xff][..], &[0; 100]].concat()),
                ("one byte more than socket.request.max.bytes", (104_857_601_u32).to_be_bytes().to_vec()),
                ("an empty request", framed(&[])),
                ("a header cut short", framed(&[0, 3, 0, 1, 0])),
                ("a key nobody knows", header(9999, 0)),
                ("a key of the controllers' listener", header(62, 0)),
                ("a version of Metadata nobody knows", header(3, 99)),
                ("a version of Produce that Kafka 4 has dropped", header(0, 2)),
                ("a body that is missing", header(3, 12)),
                ("a greeting of TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
                ("a request of HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            ] {
                let outcome = send(address, &bytes)?;
                ensure!(outcome == Outcome::Closed, "{what}: {outcome:?}");
            }
            // The one exception: a client asks which versions there are, in one that there is not.
            const UNSUPPORTED_VERSION: [u8; 2] = [0, 35];
            let answer = send(address, &header(18, 99))?.answer().context("ApiVersions 99")?;
            ensure!(answer[4..6] == UNSUPPORTED_VERSION, "{answer:?}");
            Ok(())
        })?;
        server.stop()
    })
}

#[test]
fn a_thousand_half_frames_and_readers_that_never_read_cost_little_and_block_nobody() -> Result<()> {
    const HALF: usize = 1000;
    const DEAF: usize = 60;
    story("wire-halves", |bench| {
        let (mut server, topic_id, _) = start(bench)?;
        // Something to fetch: 16 MiB.
        let big = "x".repeat(8000);
        let records: Vec<_> = e2e::kcat::records(2000)
            .into_iter()
            .map(|record| e2e::kcat::Record { value: big.clone(), ..record })
            .collect();
        bench.kcat.produce(server.address(), TOPIC, &records)?;
        while_another_is_served(bench, &mut server, |address| {
            let mut held = Vec::new();
            for number in 0..HALF {
                let mut stream = connect(address)?;
                // Announced: almost all that a request may have. Sent: a length alone, a header, or a little more.
                let mut bytes = (104_000_000_u32).to_be_bytes().to_vec();
                bytes.extend([0, 0, 0, 9].iter().cycle().take([0, 12, 3000][number % 3]));
                stream.write_all(&bytes).with_context(|| format!("half frame {number}"))?;
                held.push(stream);
            }
            let fetch = framed(&requests::frame(1, 12, &requests::fetch(12, topic_id, 50 << 20))?);
            for _ in 0..DEAF {
                let mut stream = connect(address)?;
                // Until there is no room: nobody reads the answers, so in the end the broker reads no requests.
                for _ in 0..200 {
                    if stream.write_all(&fetch).is_err() {
                        break;
                    }
                }
                held.push(stream);
            }
            // While all of them are held: a client as any other.
            ensure!(bench.kcat.consume_values(address, TOPIC)?.len() >= 2000, "not everything is read");
            drop(held);
            Ok(())
        })?;
        server.stop()
    })
}

/// A batch of gzip whose one record is half a gigabyte of zeros.
fn bomb(bench: &Bench) -> Result<Vec<u8>> {
    const ZEROS: usize = 512 << 20;
    let zigzag = |number: usize| {
        let (mut rest, mut bytes) = (number * 2, Vec::new());
        while rest > 0x7f {
            bytes.push(u8::try_from(rest & 0x7f | 0x80).expect("one byte"));
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).expect("one byte"));
        bytes
    };
    // Attributes, time and offset deltas, no key, the value's length; the value; no headers.
    let mut record = vec![0, 0, 0, 1];
    record.extend(zigzag(ZEROS));
    let mut beginning = zigzag(record.len() + ZEROS + 1);
    beginning.extend(record);
    let file = bench.path("beginning");
    fs::write(&file, beginning).with_context(|| format!("write {}", file.display()))?;
    let script = format!("(cat '{}'; head -c {} /dev/zero) | gzip -9", file.display(), ZEROS + 1);
    let packed = program("sh").args(["-c", &script]).output()?;
    ensure!(packed.status.success() && packed.stdout.len() < 1 << 20, "gzip: {}", packed.status);
    const HEADER: usize = 61;
    const GZIP: u8 = 1;
    let mut batch = wire::batch_of_one(b"");
    batch.truncate(HEADER);
    batch[22] = GZIP;
    batch.extend(packed.stdout);
    let length = u32::try_from(batch.len() - 12)?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    sign(&mut batch);
    Ok(batch)
}

#[test]
fn batches_that_swell_a_thousandfold_cost_little() -> Result<()> {
    const SENDERS: usize = 3;
    story("wire-bombs", |bench| {
        let (mut server, topic_id, _) = start(bench)?;
        let frame = framed(&requests::frame(0, 9, &requests::produce(9, topic_id, bomb(bench)?))?);
        let before = size_of(&bench.path(&format!("data/{TOPIC}-0")))?;
        while_another_is_served(bench, &mut server, |address| {
            let mut held = Vec::new();
            for _ in 0..SENDERS {
                let mut stream = connect(address)?;
                stream.set_read_timeout(Some(SERVED_WITHIN)).context("limit the wait")?;
                stream.write_all(&frame).context("send a batch")?;
                held.push(stream);
            }
            for mut stream in held {
                let mut answer = vec![0; 4 + 4 + 1 + 1 + 1 + TOPIC.len() + 1 + 4 + 2];
                stream.read_exact(&mut answer).context("an answer")?;
                let code = code_of(9, &answer[4..])?;
                ensure!(code == MESSAGE_TOO_LARGE, "error {code}");
            }
            Ok(())
        })?;
        ensure!(size_of(&bench.path(&format!("data/{TOPIC}-0")))? == before, "something is in the log");
        server.stop()
    })
}

/// Kafka's codes.
const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// One way to spoil a batch.
type Spoil = fn(&mut Vec<u8>);

/// What is wrong, how it is made, and the codes that Kafka gives for it.
const SPOILT: [(&str, Spoil, &[i16]); 10] = [
    ("a wrong checksum", |batch| batch[17] ^= 1, &[CORRUPT_MESSAGE]),
    ("a flipped bit in a record", |batch| *batch.last_mut().expect("a byte") ^= 4, &[CORRUPT_MESSAGE]),
    ("a length that is too long", |batch| batch[11] += 1, &[CORRUPT_MESSAGE, INVALID_RECORD]),
    ("a length that is too short", |batch| batch[11] -= 1, &[CORRUPT_MESSAGE, INVALID_RECORD]),
    ("a negative length", |batch| batch[8] = 0xff, &[CORRUPT_MESSAGE, INVALID_RECORD]),
    (
        "a byte missing at the end",
        |batch| batch.truncate(batch.len() - 1),
        &[CORRUPT_MESSAGE, INVALID_RECORD],
    ),
    (
        "a count that is too high",
        |batch| {
            batch[60] = 2;
            sign(batch);
        },
        &[INVALID_RECORD],
    ),
    (
        "a count of zero",
        |batch| {
            batch[60] = 0;
            sign(batch);
        },
        &[INVALID_RECORD],
    ),
    ("the format of Kafka 0.10", |batch| batch[16] = 1, &[INVALID_RECORD]),
    ("a format of the future", |batch| batch[16] = 3, &[CORRUPT_MESSAGE, INVALID_RECORD]),
];

/// Makes the checksum right again.
fn sign(batch: &mut [u8]) {
    let checksum = wire::crc32c(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&checksum);
}

/// The bytes of all segments: indexes and checkpoints are written in their own time.
fn size_of(log: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(log).with_context(|| format!("list {}", log.display()))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            bytes += entry.metadata().context("look at a segment")?.len();
        }
    }
    Ok(bytes)
}

#[test]
fn a_spoilt_batch_gets_kafkas_code_and_leaves_no_byte_in_the_log() -> Result<()> {
    story("wire-batches", |bench| {
        let (mut server, topic_id, real) = start(bench)?;
        let log = bench.path(&format!("data/{TOPIC}-0"));
        let good = wire::batch_of_one(b"a value of some length");
        // Where the codes are in the answers: after the topic's name or id, the counts and the partition.
        let send_batch = |version: i16, batch: Vec<u8>| -> Result<i16> {
            let frame = requests::frame(0, version, &requests::produce(version, topic_id, batch))?;
            let answer = send(server.address(), &framed(&frame))?.answer();
            code_of(version, &answer.with_context(|| format!("version {version}"))?)
        };
        let before = size_of(&log)?;
        for version in real.iter().filter(|real| real.key == 0).map(|real| real.version) {
            for (what, spoil, codes) in SPOILT {
                let mut batch = good.clone();
                spoil(&mut batch);
                let code = send_batch(version, batch)?;
                ensure!(
                    codes.contains(&code),
                    "{what} in version {version}: error {code}, not one of {codes:?}"
                );
            }
            let mut unknown_codec = good.clone();
            unknown_codec[22] = 7;
            sign(&mut unknown_codec);
            let code = send_batch(version, unknown_codec)?;
            let wanted = [UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD, CORRUPT_MESSAGE];
            ensure!(wanted.contains(&code), "an unknown codec in version {version}: error {code}");
            ensure!(size_of(&log)? == before, "version {version}: something is in the log");
            let empty = send_batch(version, Vec::new())?;
            ensure!(empty == INVALID_RECORD || empty == CORRUPT_MESSAGE, "no batch at all: error {empty}");
        }
        ensure!(send_batch(9, good)? == 0, "the good one is refused, too");
        ensure!(size_of(&log)? > before, "the good one is not in the log");
        server.stop()
    })
}

/// The error code of the one partition in an answer to Produce.
fn code_of(version: i16, answer: &[u8]) -> Result<i16> {
    // Correlation id, in flexible versions tags, then counts, the topic, counts and the partition's index.
    let before = match version {
        0..=8 => 4 + 4 + 2 + TOPIC.len() + 4 + 4,
        9..=12 => 4 + 1 + 1 + 1 + TOPIC.len() + 1 + 4,
        _ => 4 + 1 + 1 + 16 + 1 + 4,
    };
    let code = answer.get(before..before + 2).context("an answer that is too short")?;
    Ok(i16::from_be_bytes([code[0], code[1]]))
}
