//! Another configuration of the way from the lanes to the cluster, while records are under way.

use buffer::{LaneId, Lanes};

use super::{Drain, Way};
use crate::ingest::{Claim, Record};
use crate::pace::Shape;
use crate::uplink::Standing;

impl Drain {
    /// Goes on by other addresses, paces, budgets and windows. What is under way lands as it was sent, unless its topic is one that the
    /// cluster does not take, and is not the lane's any more.
    pub(crate) fn change(&mut self, lanes: &mut Lanes<Record, Claim>, mut new: Way, shape: Shape) {
        let topics: Vec<_> = new
            .addresses
            .lanes()
            .iter()
            .map(|lane| &lane.topic)
            .collect();
        self.holdback.change(&topics);
        let held = self.held_for_another_topic(&new);
        self.constant = new.addresses.constant();
        self.topics.retry(new.topic_retry);
        self.link.returns_within(shape.returning());
        self.shaper.change(shape, &new.paces);
        for (bunches, pace) in self.bunches.iter_mut().zip(&new.paces) {
            bunches.linger(pace.linger);
        }
        new.allowance.goes_on_from(&mut self.allowance);
        self.allowance = new.allowance;
        new.addresses.fallbacks = self.addresses.fallbacks;
        self.addresses = new.addresses;
        self.standings.clear();
        lanes.retry_deferred();
        for lane in held {
            self.recall(lanes, lane);
        }
    }

    /// Another time is true: what waits for a connection goes again, with that.
    pub(crate) fn clock_is_set(&mut self, lanes: &mut Lanes<Record, Claim>) {
        if self.uplink.stands() {
            return; // what is under way was sent, or is in a moment
        }
        for lane in self.lanes.clone() {
            self.recall(lanes, lane);
        }
    }

    /// Whether the cluster has this topic, and lets it be written, as far as it has said.
    pub(crate) fn takes(&self, topic: &str) -> Option<Result<(), String>> {
        let asked = self.standings.get(topic).map(|(_, standing)| standing);
        if let Some(Standing::Refused(reason)) = asked {
            return Some(Err(reason.clone()));
        }
        // That brokers are away is no matter of the configuration.
        let refused = self.topics.refusal(topic);
        refused.map_or_else(|| asked.map(|_| Ok(())), |why| Some(Err(why.to_owned())))
    }

    fn held_for_another_topic(&self, new: &Way) -> Vec<LaneId> {
        if self.topics.is_empty() {
            return Vec::new();
        }
        let lanes = self.lanes.iter().zip(self.addresses.lanes());
        let lanes = lanes.zip(new.addresses.lanes());
        let other = lanes.filter(|((_, old), new)| old.topic != new.topic);
        other.map(|((lane, _), _)| *lane).collect()
    }
}
