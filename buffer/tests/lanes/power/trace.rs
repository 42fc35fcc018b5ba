//! What a process did to the files below a directory, from the log of `strace`.
//!
//! A write counts from the moment at which it ended; a sync covers only what ended before it began, also where
//! another thread's call lies in between. That is the least that a kernel promises.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The calls that change files, or make a change durable.
pub(crate) const CALLS: &str = "openat,creat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,\
                                link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A file is there from here on, as it was or empty.
    Create {
        path: PathBuf,
        emptied: bool,
    },
    Mkdir(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Write {
        path: PathBuf,
        at: u64,
        bytes: Vec<u8>,
    },
    Resize(PathBuf, u64),
    /// Covers the operations before number `begun`.
    Sync {
        path: PathBuf,
        begun: usize,
    },
    /// A line of the journal.
    Said(String),
}

impl Op {
    pub(crate) fn said(&self) -> Option<&str> {
        if let Op::Said(line) = self {
            Some(line)
        } else {
            None
        }
    }
}

struct Reader<'a> {
    root: &'a Path,
    journal: &'a Path,
    ops: Vec<Op>,
    /// Where the next plain `write` to a file goes.
    places: HashMap<PathBuf, u64>,
    /// Of each thread, the beginning of the call that it is in, and the number of operations then.
    unfinished: HashMap<String, (String, usize)>,
}

/// The operations on files below `root`, and what was written to the file `journal`, in order.
pub(crate) fn read(log: &str, root: &Path, journal: &Path) -> Vec<Op> {
    let mut reader = Reader {
        root,
        journal,
        ops: Vec::new(),
        places: HashMap::new(),
        unfinished: HashMap::new(),
    };
    for line in log.lines() {
        reader.line(line);
    }
    reader.ops
}

impl Reader<'_> {
    fn line(&mut self, line: &str) {
        let (thread, text) = line.split_once(' ').unwrap();
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            let beginning = (begun.to_owned(), self.ops.len());
            self.unfinished.insert(thread.to_owned(), beginning);
        } else if let Some((_, rest)) = text.split_once(" resumed>") {
            let (beginning, begun) = self.unfinished.remove(thread).unwrap();
            self.call(&(beginning + rest), begun);
        } else {
            self.call(text, self.ops.len());
        }
    }

    fn call(&mut self, text: &str, begun: usize) {
        let (name, rest) = text.split_once('(').unwrap();
        let (arguments, result) = arguments(rest);
        let number = result.split(['<', ' ']).next().unwrap();
        if number.starts_with('-') || number == "?" {
            return; // it failed, or the process ended in it
        }
        let path = |index: usize| path(&arguments, index);
        let op = match name {
            "openat" if !arguments[2].text().contains("O_CREAT") => return,
            "openat" => Op::Create {
                path: path(1),
                emptied: arguments[2].text().contains("O_TRUNC"),
            },
            "creat" => Op::Create {
                path: path(0),
                emptied: true,
            },
            "write" if path(0) == self.journal => {
                let said = String::from_utf8(arguments[1].bytes().to_vec()).unwrap();
                self.ops
                    .extend(said.lines().map(|line| Op::Said(line.into())));
                return;
            }
            "write" | "pwrite64" => {
                let (path, bytes) = (path(0), arguments[1].bytes().to_vec());
                let place = self.places.entry(path.clone()).or_default();
                let at = arguments.get(3).map_or(*place, Argument::number);
                if name == "write" {
                    *place += bytes.len() as u64;
                }
                Op::Write { path, at, bytes }
            }
            "ftruncate" => Op::Resize(path(0), arguments[1].number()),
            "fsync" | "fdatasync" => Op::Sync {
                path: path(0),
                begun,
            },
            "rename" => Op::Rename(path(0), path(1)),
            "renameat" => Op::Rename(path(1), path(3)),
            "renameat2" if arguments[4].text().contains("EXCHANGE") => {
                Op::Exchange(path(1), path(3))
            }
            "renameat2" => Op::Rename(path(1), path(3)),
            "unlink" | "rmdir" => Op::Remove(path(0)),
            "unlinkat" => Op::Remove(path(1)),
            "mkdir" => Op::Mkdir(path(0)),
            "mkdirat" => Op::Mkdir(path(1)),
            other => panic!("the workload is not known to call {other}: {text}"),
        };
        self.take(op);
    }

    fn take(&mut self, op: Op) {
        let (Op::Create { path, .. }
        | Op::Mkdir(path)
        | Op::Remove(path)
        | Op::Rename(path, _)
        | Op::Exchange(path, _)
        | Op::Write { path, .. }
        | Op::Resize(path, _)
        | Op::Sync { path, .. }) = &op
        else {
            unreachable!("the journal is read apart")
        };
        if !path.starts_with(self.root) {
            return;
        }
        if let Op::Create { path, .. } = &op {
            self.places.insert(path.clone(), 0);
        }
        self.ops.push(op);
    }
}

/// The path in an argument: of a descriptor, or a name beside the descriptor before it.
fn path(arguments: &[Argument], index: usize) -> PathBuf {
    match &arguments[index] {
        Argument::Text(text) => PathBuf::from(of_descriptor(text)),
        Argument::Bytes(bytes) => {
            let name = PathBuf::from(String::from_utf8(bytes.clone()).unwrap());
            let beside = index.checked_sub(1).and_then(|i| arguments.get(i));
            match beside {
                Some(Argument::Text(text)) => Path::new(of_descriptor(text)).join(name),
                _ => name,
            }
        }
    }
}

/// `7</a/b>` as `/a/b`.
fn of_descriptor(text: &str) -> &str {
    let path = text.split_once('<').map_or("", |(_, path)| path);
    path.trim_end_matches('>')
}

#[derive(Debug)]
enum Argument {
    Bytes(Vec<u8>),
    Text(String),
}

impl Argument {
    fn text(&self) -> &str {
        match self {
            Argument::Text(text) => text,
            Argument::Bytes(_) => panic!("{self:?} is data"),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Argument::Bytes(bytes) => bytes,
            Argument::Text(_) => panic!("{self:?} is no data"),
        }
    }

    fn number(&self) -> u64 {
        self.text().parse().unwrap()
    }
}

/// `"a\0", 7<x>, 3) = 5` as its arguments and its result.
fn arguments(rest: &str) -> (Vec<Argument>, &str) {
    let mut found = Vec::new();
    let mut rest = rest;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(result) = rest.strip_prefix(')') {
            return (found, result.trim_start_matches([' ', '=']));
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (bytes, after) = unquote(quoted);
            assert!(!after.starts_with("..."), "strace cut a text short");
            found.push(Argument::Bytes(bytes));
            rest = after;
        } else {
            let end = rest.find([',', ')']).unwrap();
            found.push(Argument::Text(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
}

/// Undoes the escapes of C, up to the closing quote.
fn unquote(quoted: &str) -> (Vec<u8>, &str) {
    let mut bytes = Vec::new();
    let source = quoted.as_bytes();
    let mut at = 0;
    loop {
        match source[at] {
            b'"' => return (bytes, &quoted[at + 1..]),
            b'\\' => {
                let digits = source[at + 1..]
                    .iter()
                    .take(3)
                    .take_while(|byte| (b'0'..b'8').contains(byte));
                let digits = digits.count();
                if digits > 0 {
                    let octal = &quoted[at + 1..=at + digits];
                    bytes.push(u8::from_str_radix(octal, 8).unwrap());
                    at += 1 + digits;
                    continue;
                }
                bytes.push(match source[at + 1] {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'v' => 11,
                    b'f' => 12,
                    other => other,
                });
                at += 2;
            }
            plain => {
                bytes.push(plain);
                at += 1;
            }
        }
    }
}

#[test]
fn a_log_is_read_as_it_was_done() {
    let log = concat!(
        "7  mkdir(\"/s/g\", 0777) = 0\n",
        "7  openat(AT_FDCWD</w>, \"/s/g/db\", O_RDWR|O_CREAT|O_CLOEXEC, 0666) = 3</s/g/db>\n",
        "7  fdatasync(3</s/g/db> <unfinished ...>\n",
        "8  pwrite64(3</s/g/db>, \"a\\0\\3771\\\"\\n\", 6, 512) = 6\n",
        "7  <... fdatasync resumed>) = 0\n",
        "7  write(1</j>, \"one\\ntwo\\n\", 8) = 8\n",
        "7  unlinkat(4</s/g>, \"db\", 0) = 0\n",
        "7  rename(\"/s/x\", \"/s/y\") = -1 ENOENT (No such file or directory)\n",
    );
    let at = |path: &str| PathBuf::from(path);
    assert_eq!(
        read(log, Path::new("/s"), Path::new("/j")),
        [
            Op::Mkdir(at("/s/g")),
            Op::Create {
                path: at("/s/g/db"),
                emptied: false
            },
            Op::Write {
                path: at("/s/g/db"),
                at: 512,
                bytes: b"a\0\xff1\"\n".to_vec()
            },
            Op::Sync {
                path: at("/s/g/db"),
                begun: 2
            },
            Op::Said("one".into()),
            Op::Said("two".into()),
            Op::Remove(at("/s/g/db")),
        ]
    );
}
