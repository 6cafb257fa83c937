//! One direction of a link as a pure machine: packets go in, and come out later or never. Driven by a
//! [`Pump`](super::pump::Pump); the time is an argument, chance comes from a seed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Impairment;

/// Packets under way at one time; one more is dropped, as a router with a full queue does. At 30 ms it
/// stands for 1.6 Gbit/s of full packets, and never for more than 6 MB of them.
const CAPACITY: usize = 4096;

/// Packets under way in one direction.
#[derive(Debug)]
pub(super) struct Line {
    delay: Duration,
    loss: f64,
    chance: u64,
    under_way: VecDeque<(Instant, Vec<u8>)>,
}

impl Line {
    /// An empty one.
    pub(super) fn new(impairment: Impairment) -> Self {
        Self {
            delay: impairment.delay,
            loss: impairment.loss,
            chance: impairment.seed,
            under_way: VecDeque::new(),
        }
    }

    /// Takes a packet, or loses it.
    pub(super) fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let lost = self.draw() < self.loss;
        if !lost && self.under_way.len() < CAPACITY {
            self.under_way.push_back((now + self.delay, packet.to_vec()));
        }
    }

    /// Returns the next packet that has arrived by now, in the order they were sent in.
    pub(super) fn next_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        let arrived = self.under_way.pop_front_if(|(due, _)| *due <= now);
        arrived.map(|(_, packet)| packet)
    }

    /// When the next packet arrives.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// The next number of the seed's sequence, at least 0 and below 1: SplitMix64.
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The upper 53 bits are what a double holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(30);

    fn line(loss: f64, seed: u64) -> Line {
        Line::new(Impairment {
            delay: DELAY,
            loss,
            seed,
        })
    }

    /// Which of the numbers from 0 on arrive, a packet at a time.
    fn arrivals(mut line: Line, count: u16) -> Vec<u16> {
        let start = Instant::now();
        let sent = (0..count).filter_map(|number| {
            line.handle_packet(&number.to_be_bytes(), start);
            let packet = line.next_packet(start + DELAY)?;
            Some(u16::from_be_bytes(packet.try_into().unwrap()))
        });
        sent.collect()
    }

    #[test]
    fn a_packet_arrives_after_the_delay_and_not_before_and_in_order() {
        let start = Instant::now();
        let later = start + Duration::from_millis(5);
        let mut line = line(0.0, 1);
        line.handle_packet(b"first", start);
        line.handle_packet(b"second", later);

        assert_eq!(line.poll_timeout(), Some(start + DELAY));
        assert_eq!(line.next_packet(start + DELAY - Duration::from_nanos(1)), None);
        assert_eq!(line.next_packet(start + DELAY).as_deref(), Some(&b"first"[..]));
        assert_eq!(line.next_packet(start + DELAY), None);
        assert_eq!(line.next_packet(later + DELAY).as_deref(), Some(&b"second"[..]));
        assert_eq!(line.poll_timeout(), None);
    }

    #[test]
    fn the_seed_decides_which_packets_vanish_and_the_loss_how_many() {
        let some = arrivals(line(0.2, 7), 10_000);
        assert!((7_800..8_200).contains(&some.len()), "{}", some.len());
        assert_eq!(some, arrivals(line(0.2, 7), 10_000));
        assert_ne!(some, arrivals(line(0.2, 8), 10_000));
        assert_eq!(arrivals(line(0.0, 7), 1_000).len(), 1_000);
        assert_eq!(arrivals(line(1.0, 7), 1_000), Vec::<u16>::new());
    }

    #[test]
    fn a_full_line_drops_what_comes_and_keeps_what_it_has() {
        let start = Instant::now();
        let mut line = line(0.0, 1);
        for number in 0..CAPACITY + 3 {
            line.handle_packet(&number.to_be_bytes(), start);
        }
        let arrived = std::iter::from_fn(|| line.next_packet(start + DELAY));
        let last = arrived.collect::<Vec<_>>().pop().unwrap();
        assert_eq!(last, (CAPACITY - 1).to_be_bytes());
    }
}
