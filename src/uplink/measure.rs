//! What went over the connections, and what brokers throttle, by librdkafka's statistics.

use std::time::Instant;

use buffer::LaneId;

use super::callbacks::Measured;
use super::connection::Connection;
use super::{Carried, Uplink};

impl Uplink {
    /// Takes in statistics; says whether a broker answered. A quota may be of the user, or of one connection.
    pub(super) fn measured(&mut self, number: usize, one: &Measured, now: Instant) -> bool {
        let (round_trip, throttle) = (one.round_trip, one.throttle);
        let lanes = self.lanes_of(number);
        let urgent = self
            .connections
            .get(number)
            .is_some_and(Connection::is_urgent);
        let mut answered = false;
        for (other, connection) in self.connections.iter_mut().enumerate() {
            if other == number {
                connection.throttle = throttle;
                let (wire, landed, heard) = connection.carried(one);
                answered = heard;
                let (in_flight, urgent) = (connection.limit.in_flight(), connection.is_urgent());
                tracing::trace!(
                    urgent,
                    landed,
                    in_flight,
                    wire,
                    ?round_trip,
                    ?throttle,
                    "measured"
                );
                self.carried.push(Carried {
                    lanes: lanes.clone(),
                    wire,
                    landed,
                });
                if !throttle.is_zero() {
                    self.silent_until = self.silent_until.max(now + throttle);
                }
            }
            let Some(flow) = connection.limit.flow_mut() else {
                continue;
            };
            if let Some(round_trip) = round_trip {
                flow.took(round_trip);
            }
            if !throttle.is_zero() && (urgent || other == number) {
                flow.throttled(throttle, now);
            }
        }
        answered
    }

    pub(super) fn lanes_of(&self, number: usize) -> Vec<LaneId> {
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.filter(|(_, (connection, _))| *connection == number);
        lanes
            .filter_map(|(lane, _)| u8::try_from(lane).ok().map(LaneId))
            .collect()
    }

    /// What went over the connections since this was last asked.
    pub(crate) fn carried(&mut self) -> Vec<Carried> {
        std::mem::take(&mut self.carried)
    }

    /// Bytes handed over on connections that are not urgent, and not yet in [`Self::carried`].
    #[must_use]
    pub(crate) fn uncounted(&self) -> usize {
        let bulk = self.connections.iter().filter(|one| !one.is_urgent());
        bulk.map(|one| one.limit.in_flight() + one.landed).sum()
    }
}
