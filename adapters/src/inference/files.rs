//! Following all files whose names fit a pattern: each by a task of its own, with a queue, receipts and a place of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

use super::Inference;
use super::followed::Followed;
use super::names::{Known, Look, Names};
use super::places;
use super::tail::{Ended, follow};
use crate::retry::Works;
use crate::{Intake, Stop, off_task, stopped};

/// Files that are followed at once: each has a descriptor, a queue and up to 128 KiB of lines under way. Of more than these the
/// newest come first, and the others wait until one of them has gone or rests.
const FILES_MAX: usize = 64;
/// How often new files are looked for.
const SEARCH: Duration = Duration::from_secs(2);
/// And how many times as long as a search takes there is at least until the next.
const SEARCH_SHARE: u32 = 20;
/// How long after a failure a file is tried again.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn follow_all(
    input: &Arc<Inference>,
    names: Names,
    intake: &Intake,
    works: &Works<'_>,
    stop: &mut Stop,
) -> io::Result<()> {
    let mut all = Files {
        input,
        known: Arc::new(Known::of(names.clone())),
        tasks: JoinSet::new(),
        paths: BTreeMap::new(),
        failed: BTreeMap::new(),
        is_told: false,
    };
    while !*stop.borrow() {
        let begun = Instant::now();
        // On another thread: a directory may be large.
        let all_names = names.clone();
        let look = match off_task(move || all_names.found()).await {
            Ok(found) => Some(all.known.look(found)),
            Err(error) if all.paths.is_empty() => return Err(error),
            Err(error) => {
                intake.stats.error(&error);
                None
            }
        };
        works.now();
        if let Some(look) = look {
            for path in &look.gone {
                forget(&place_of(&input.place, path)).await;
            }
            all.begin(look, intake, stop);
        }
        let again = Instant::now() + SEARCH.max(begun.elapsed() * SEARCH_SHARE);
        while !*stop.borrow() && Instant::now() < again {
            tokio::select! {
                Some(ended) = all.tasks.join_next_with_id() => all.ended(ended, intake),
                () = sleep_until(again) => {}
                () = stopped(stop) => {}
            }
        }
    }
    while let Some(ended) = all.tasks.join_next_with_id().await {
        all.ended(ended, intake);
    }
    Ok(())
}

struct Files<'a> {
    input: &'a Arc<Inference>,
    known: Arc<Known>,
    tasks: JoinSet<io::Result<Ended>>,
    paths: BTreeMap<Id, PathBuf>,
    /// When following a file failed last.
    failed: BTreeMap<PathBuf, Instant>,
    /// The log says that there are more files than are followed at once.
    is_told: bool,
}

impl Files<'_> {
    fn begin(&mut self, look: Look, intake: &Intake, stop: &Stop) {
        self.tell(look.count);
        let new = look.new.into_iter().filter(|path| self.may_begin(path));
        let mut new: Vec<PathBuf> = new.collect();
        let room = FILES_MAX.saturating_sub(self.paths.len());
        let waiting = new.len().saturating_sub(room);
        self.known.set_crowded(waiting > 0);
        if waiting > 0 {
            new.reverse();
        }
        for path in new.into_iter().take(room) {
            let (input, known) = (Arc::clone(self.input), Arc::clone(&self.known));
            let ((intake, mut receipts), mut stop) = (intake.split(), stop.clone());
            let followed = path.clone();
            let task = self.tasks.spawn(async move {
                let place = place_of(&input.place, &followed);
                let followed = Followed {
                    path: &followed,
                    place: &place,
                    known: &known,
                };
                let ended = follow(&input, followed, &intake, &mut receipts, &mut stop, || {});
                let ended = ended.await;
                if matches!(ended, Ok(Ended::Gone)) {
                    forget(&place).await;
                }
                ended
            });
            self.paths.insert(task.id(), path);
        }
    }

    /// Says when there come to be more files than are followed at once, and when no more are.
    fn tell(&mut self, files: usize) {
        let source = self.input.section.name.as_str();
        let are_many = files > FILES_MAX;
        if are_many == std::mem::replace(&mut self.is_told, are_many) {
            return;
        }
        if are_many {
            tracing::warn!(
                source,
                files,
                "more files fit `tail` than are followed at once (64); the newest are followed, and the others are read when one of those has gone or is not written to for 10 s; nothing is lost while they stay; remove files that are finished, or make the pattern narrower"
            );
        } else {
            tracing::info!(source, "all files that fit `tail` are followed");
        }
    }

    /// Whether a file is not followed already, and is not one that failed just now.
    fn may_begin(&self, path: &PathBuf) -> bool {
        let failed = self.failed.get(path);
        failed.is_none_or(|at| at.elapsed() >= AGAIN) && !self.paths.values().any(|is| is == path)
    }

    /// Whether it is new that this file fails, and not the next of its attempts.
    fn fails_anew(&mut self, path: &Path) -> bool {
        self.failed.retain(|_, at| at.elapsed() < AGAIN * 3);
        let before = self.failed.insert(path.to_owned(), Instant::now());
        before.is_none()
    }

    fn ended(&mut self, ended: Result<(Id, io::Result<Ended>), JoinError>, intake: &Intake) {
        let source = self.input.section.name.as_str();
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(path) = self.paths.remove(&id) else {
            return;
        };
        match ended {
            Ok((_, Ok(Ended::Stopped))) => {}
            Ok((_, Ok(Ended::Rests(written)))) => return self.known.rests(&path, written),
            Ok((_, Ok(Ended::Gone))) => {
                tracing::info!(source, path = %path.display(), "a followed file has gone, after it was read to its end");
            }
            // It is found again, if it is there.
            Ok((_, Err(error))) => {
                intake.stats.error(&error);
                if self.fails_anew(&path) {
                    tracing::warn!(source, path = %path.display(), %error, "a file that fits `tail` cannot be read; its lines wait, and it is tried again every 5 s; look at its rights and its disk, or make the pattern narrower");
                }
            }
            Err(error) => {
                intake.stats.error(&error);
                self.fails_anew(&path);
                tracing::error!(source, path = %path.display(), %error, "the task that follows a file panicked; it is followed again from its last place; report this line");
            }
        }
        self.known.ended(&path);
    }
}

/// Where the place in a file is remembered: in a directory beside the place of an input that follows a single file.
pub(super) fn place_of(input: &Path, followed: &Path) -> PathBuf {
    let name = xxh3_64(followed.as_os_str().as_encoded_bytes());
    input.with_extension("d").join(format!("{name:016x}"))
}

/// A place that cannot be removed costs a few bytes, and is of no file that is there.
async fn forget(place: &Path) {
    places::forget(place);
    let path = place.to_owned();
    let removed = off_task(move || std::fs::remove_file(path)).await;
    if let Err(error) = removed {
        tracing::debug!(%error, path = %place.display(), "the place in a file that has gone cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::sync::atomic::Ordering;

    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;
    use crate::Backoff;
    use crate::inference::testing::{Agent, write_whole};
    use crate::retry::Reconnect;

    fn append(path: &Path, number: usize) {
        let file = fs::File::options().create(true).append(true).open(path);
        writeln!(file.unwrap(), "{{\"n\":{number}}}").unwrap();
    }

    fn followed(
        pattern: &Path,
        directory: &Path,
        intake: Intake,
    ) -> (watch::Sender<bool>, JoinHandle<()>) {
        let text = format!("name = \"f\"\ntail = {pattern:?}");
        let section = toml::from_str(&text).unwrap();
        let input = Inference::of(section, directory.join("places"), write_whole);
        let (stopper, mut stop) = watch::channel(false);
        let names = Names::of(pattern).unwrap();
        let following = tokio::spawn(async move {
            let second = Duration::from_secs(1);
            let retry = Reconnect::new(&intake, Backoff::new(second, second), "f", String::new());
            let (input, works) = (Arc::new(input), retry.works());
            let ended = follow_all(&input, names, &intake, works, &mut stop);
            ended.await.unwrap();
        });
        (stopper, following)
    }

    async fn count(agent: &Agent, count: usize) {
        while agent.count() < count {
            sleep(SEARCH / 10).await;
        }
        sleep(SEARCH * 10).await;
        assert_eq!(agent.count(), count, "each once");
    }

    #[tokio::test(start_paused = true)]
    async fn every_file_that_fits_is_read_once_whatever_it_is_renamed_to_and_forgotten_when_gone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (agent, path) = (Agent::default(), at("*.jsonl"));
        append(&at("a.jsonl"), 0);
        append(&at("b.jsonl"), 1);
        append(&at("c.log"), 2);
        let (intake, _receipts, _) = agent.run();
        let (stopper, following) = followed(&path, directory.path(), intake);
        count(&agent, 2).await;
        append(&at("d.jsonl"), 3);
        count(&agent, 3).await;
        // Within the pattern, and out of it.
        fs::rename(at("a.jsonl"), at("a-1.jsonl")).unwrap();
        append(&at("a.jsonl"), 4);
        fs::rename(at("b.jsonl"), at("b.jsonl.1")).unwrap();
        append(&at("b.jsonl"), 5);
        count(&agent, 5).await;
        append(&at("d.jsonl"), 6);
        fs::remove_file(at("d.jsonl")).unwrap();
        count(&agent, 6).await;
        let places = || fs::read_dir(at("places.d")).unwrap().count();
        while places() != 3 {
            sleep(SEARCH).await;
        }
        for number in 7..200 {
            append(&at(&format!("{number}.jsonl")), number);
        }
        count(&agent, 199).await;
        append(&at("7.jsonl"), 200);
        append(&at("199.jsonl"), 201);
        count(&agent, 201).await;
        stopper.send_replace(true);
        following.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn logs_with_numbers_in_their_names_are_logs_and_a_link_to_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let agent = Agent::default();
        append(&at("press.jsonl"), 0);
        append(&at("press.2.jsonl"), 1);
        std::os::unix::fs::symlink(at("press.2.jsonl"), at("latest.jsonl")).unwrap();
        fs::hard_link(at("press.jsonl"), at("the-same.jsonl")).unwrap();
        let (intake, _receipts, _) = agent.run();
        let (stopper, following) = followed(&at("*.jsonl"), directory.path(), intake);
        count(&agent, 2).await;
        append(&at("press.2.jsonl"), 2);
        append(&at("press.jsonl"), 3);
        count(&agent, 4).await;
        append(&at("press.3.jsonl"), 4);
        fs::remove_file(at("latest.jsonl")).unwrap();
        std::os::unix::fs::symlink(at("press.3.jsonl"), at("latest.jsonl")).unwrap();
        append(&at("latest.jsonl"), 5);
        count(&agent, 6).await;
        stopper.send_replace(true);
        following.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn files_whose_last_line_was_cut_off_make_room_and_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (agent, all) = (Agent::default(), FILES_MAX + 6);
        for number in 0..all {
            append(&at(&format!("{number}.jsonl")), number);
            let file = fs::File::options()
                .append(true)
                .open(at(&format!("{number}.jsonl")));
            file.unwrap().write_all(b"{\"n\":\"cut").unwrap();
        }
        let (intake, _receipts, _) = agent.run();
        let (stopper, following) = followed(&at("*.jsonl"), directory.path(), intake);
        count(&agent, all).await;
        for number in 0..all {
            fs::remove_file(at(&format!("{number}.jsonl"))).unwrap();
        }
        while fs::read_dir(at("places.d")).unwrap().count() > 0 {
            sleep(SEARCH).await;
        }
        stopper.send_replace(true);
        following.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_read_is_tried_again_only_after_a_pause() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // A regular file that can be opened, and not be read at its beginning, whoever tries.
        std::os::unix::fs::symlink("/proc/self/mem", at("a.jsonl")).unwrap();
        append(&at("b.jsonl"), 0);
        let agent = Agent::default();
        let (intake, _receipts, _) = agent.run();
        let stats = Arc::clone(&intake.stats);
        let errors = || stats.errors.load(Ordering::Relaxed);
        let (stopper, following) = followed(&at("*.jsonl"), directory.path(), intake);
        for _ in 0..1000 {
            tokio::task::yield_now().await; // no time passes
        }
        assert_eq!(errors(), 1);
        sleep(AGAIN * 10).await;
        assert!((5..=11).contains(&errors()), "{}", errors());
        count(&agent, 1).await;
        stopper.send_replace(true);
        following.await.unwrap();
    }
}
