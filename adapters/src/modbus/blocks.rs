//! The requests of a group, and which of them a slave refuses. Pure: time comes in as an argument.
//!
//! A slave that knows one register of a block not answers the whole block with an exception. So a block that is refused
//! is halved, between its fields, until what is refused is one field; that one is left alone for a while, and the
//! others are read as before. Registers that were only read along go first.

use std::time::Duration;

use tokio::time::Instant;

use super::frame::Request;
use super::section::{FieldSection, GroupSection};

/// A refused field is asked again after this: a device with a new firmware may know it.
const QUARANTINE: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Blocks {
    /// As planned; what a slave refuses is found anew when it comes back.
    planned: Vec<Request>,
    /// Blocks that are to be read as they are, or not at all.
    exact: bool,
    now: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) request: Request,
    /// The code it was refused with, and until when it is left alone.
    refused: Option<(u8, Instant)>,
}

/// What became of a block that a slave refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its halves are asked in its place.
    Halved,
    /// It is left alone.
    Quarantined,
}

impl Block {
    /// The code it was refused with, if it is not to be asked now.
    pub(super) fn refused(&self, now: Instant) -> Option<u8> {
        self.refused
            .filter(|(_, until)| *until > now)
            .map(|(code, _)| code)
    }

    /// Whether so many registers from `first` lie in it.
    pub(super) fn covers(&self, (first, count): (u16, u16)) -> bool {
        let end = u32::from(self.request.address) + u32::from(self.request.count);
        self.request.address <= first && u32::from(first) + u32::from(count) <= end
    }
}

impl Blocks {
    pub(super) fn new(planned: Vec<Request>, group: &GroupSection) -> Blocks {
        let mut blocks = Blocks {
            planned,
            exact: !group.blocks.is_empty(),
            now: Vec::new(),
        };
        blocks.forget();
        blocks
    }

    /// The slave may be another one, or another firmware: all is asked as planned.
    pub(super) fn forget(&mut self) {
        let block = |request: &Request| Block {
            request: *request,
            refused: None,
        };
        self.now = self.planned.iter().map(block).collect();
    }

    /// Whether there is a block that is not left alone.
    pub(super) fn is_asked(&self, now: Instant) -> bool {
        self.now.iter().any(|block| block.refused(now).is_none())
    }

    pub(super) fn get(&self, index: usize) -> Option<Block> {
        self.now.get(index).copied()
    }

    /// The slave answered the block.
    pub(super) fn answered(&mut self, index: usize) {
        if let Some(block) = self.now.get_mut(index) {
            block.refused = None;
        }
    }

    /// The slave refused the block with an exception; `fields` are those of the group.
    pub(super) fn refused(
        &mut self,
        index: usize,
        code: u8,
        fields: &[FieldSection],
        now: Instant,
    ) -> Refusal {
        let Some(block) = self.now.get(index).copied() else {
            return Refusal::Quarantined;
        };
        // An illegal function (1) is illegal for every half.
        let halves = if self.exact || code == 1 {
            None
        } else {
            halves(block, fields)
        };
        let Some(halves) = halves else {
            if let Some(block) = self.now.get_mut(index) {
                block.refused = Some((code, now + QUARANTINE));
            }
            return Refusal::Quarantined;
        };
        let halves = halves.map(|request| Block {
            request,
            refused: None,
        });
        self.now.splice(index..=index, halves);
        Refusal::Halved
    }
}

/// None of a block that holds one field alone, or fields that lie in one another.
fn halves(block: Block, fields: &[FieldSection]) -> Option<[Request; 2]> {
    let request = block.request;
    let mut spans: Vec<(u32, u32)> = fields
        .iter()
        .flat_map(|field| field.spans(request.function))
        .filter(|span| block.covers(*span))
        .map(|(first, count)| (u32::from(first), u32::from(first) + u32::from(count)))
        .collect();
    spans.sort_unstable();
    // The places between fields at which it can be cut, the one nearest to the middle first.
    let (place, _) = (1..spans.len())
        .filter(|at| {
            let before = spans.get(..*at).unwrap_or_default();
            let end = before.iter().map(|(_, end)| *end).max();
            end.zip(spans.get(*at))
                .is_some_and(|(end, (first, _))| end <= *first)
        })
        .map(|at| (at, at.abs_diff(spans.len() / 2)))
        .min_by_key(|(_, far)| *far)?;
    let (low, high) = spans.split_at(place);
    let of = |spans: &[(u32, u32)]| {
        let first = spans.iter().map(|(first, _)| *first).min()?;
        let end = spans.iter().map(|(_, end)| *end).max()?;
        Some(Request {
            address: u16::try_from(first).ok()?,
            count: u16::try_from(end - first).ok()?,
            ..request
        })
    };
    Some([of(low)?, of(high)?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(addresses: &[u16]) -> GroupSection {
        let field =
            |address: &u16| format!("[[field]]\nname = \"f{address}\"\naddress = {address}\n");
        let fields: String = addresses.iter().map(field).collect();
        toml::from_str(&format!("name = \"g\"\n{fields}")).unwrap()
    }

    fn block(first: u16, end: u16) -> Request {
        Request {
            function: 3,
            address: first,
            count: end - first,
        }
    }

    /// Reads all blocks of a slave that refuses those which meet `unknown`. Returns which were answered, and how many were asked.
    fn read(
        blocks: &mut Blocks,
        group: &GroupSection,
        unknown: &[u16],
        now: Instant,
    ) -> (Vec<Request>, usize) {
        let (mut index, mut asked, mut answered) = (0, 0, Vec::new());
        while let Some(block) = blocks.get(index) {
            if block.refused(now).is_some() {
                index += 1;
                continue;
            }
            asked += 1;
            let request = block.request;
            let end = request.address + request.count;
            if unknown
                .iter()
                .any(|register| (request.address..end).contains(register))
            {
                blocks.refused(index, 2, &group.field, now);
            } else {
                blocks.answered(index);
                answered.push(request);
                index += 1;
            }
        }
        (answered, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn one_unknown_register_costs_its_field_alone() {
        let now = Instant::now();
        let group = group(&[0, 2, 4, 9]);
        let mut blocks = Blocks::new(vec![block(0, 10)], &group);
        // Register 6 was read along.
        let (answered, _) = read(&mut blocks, &group, &[6], now);
        assert_eq!(answered, [block(0, 3), block(4, 5), block(9, 10)]);
        blocks.forget();
        let (answered, asked) = read(&mut blocks, &group, &[4], now);
        assert_eq!((answered, asked), (vec![block(0, 3), block(9, 10)], 5));
        let (answered, asked) = read(&mut blocks, &group, &[4], now);
        assert_eq!((answered.len(), asked), (2, 2), "it is not asked again");
        let (answered, asked) = read(&mut blocks, &group, &[], now + QUARANTINE);
        assert_eq!((answered.len(), asked), (3, 3), "until it is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_scale_factor_that_a_slave_does_not_know_costs_the_others_nothing() {
        let now = Instant::now();
        let group: GroupSection = toml::from_str(
            "name = \"g\"\n[[field]]\nname = \"a\"\naddress = 0\nscale_from = 3\n[[field]]\nname = \"b\"\n\
             addresses = [2, 5]\ntype = \"u32\"\n[[field]]\nname = \"c\"\naddress = 4\nscale_from = 3\n",
        )
        .unwrap();
        let mut blocks = Blocks::new(vec![block(0, 6)], &group);
        let (answered, _) = read(&mut blocks, &group, &[3], now);
        let holds = |register| {
            let is_in = |one: &&Request| (one.address..one.address + one.count).contains(register);
            answered.iter().filter(is_in).count()
        };
        assert_eq!([0, 2, 3, 4, 5].each_ref().map(holds), [1, 1, 0, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_that_is_to_be_read_as_it_is_and_an_illegal_function_are_not_halved() {
        let now = Instant::now();
        let mut exact = group(&[0, 1]);
        exact.blocks = vec![[0, 2]];
        let mut blocks = Blocks::new(vec![block(0, 2)], &exact);
        assert_eq!(
            blocks.refused(0, 2, &exact.field, now),
            Refusal::Quarantined
        );
        let two = group(&[0, 1]);
        let mut blocks = Blocks::new(vec![block(0, 2)], &two);
        assert_eq!(blocks.refused(0, 1, &two.field, now), Refusal::Quarantined);
        assert_eq!(blocks.get(0).unwrap().refused(now), Some(1));
        assert!(!blocks.is_asked(now) && blocks.is_asked(now + QUARANTINE));
    }

    proptest! {
        #[test]
        fn all_that_a_slave_knows_is_read_whatever_it_does_not_know(
            known in prop::collection::btree_set(0u16..60, 1..30), unknown in prop::collection::btree_set(0u16..60, 0..6),
        ) {
            let now = Instant::now();
            let addresses: Vec<u16> = known.union(&unknown).copied().collect();
            let unknown: Vec<u16> = unknown.into_iter().collect();
            let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
            let group = group(&addresses);
            let mut blocks = Blocks::new(vec![block(first, last + 1)], &group);
            let (answered, asked) = read(&mut blocks, &group, &unknown, now);
            for register in addresses {
                let read = answered.iter().any(|one| (one.address..one.address + one.count).contains(&register));
                prop_assert_eq!(read, !unknown.contains(&register), "{}", register);
            }
            prop_assert!(asked <= 1 + unknown.len() * 14, "{asked}");
            prop_assert_eq!(read(&mut blocks, &group, &unknown, now).0, answered);
        }
    }
}
