//! Which subjects are one person, by what was said of them.
//!
//! Promises: two that are one were said to be, directly or by way of others; who was retired into
//! somebody never becomes that one's survivor while that stands; what is said twice changes nothing.
//! Knows nothing of: records; who the subjects are, which go by numbers here.

use jiff::Timestamp;

use crate::event::Act;

/// What a message said of two subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it said.
    pub act: Act,
    /// The one that is retired or renamed.
    pub from: usize,
    /// The one that survives.
    pub into: usize,
    /// When the message came.
    pub at: Timestamp,
    /// Its number.
    pub number: u64,
}

/// Two subjects that are one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joint {
    /// What joined them.
    pub said: Said,
    /// Who was one with each of the two before: with the one that was retired, with the survivor.
    pub sides: [Vec<usize>; 2],
}

/// Two subjects that were one person for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parted {
    /// The two.
    pub pair: [usize; 2],
    /// Since when they were one.
    pub from: Timestamp,
    /// When they were found to be two after all.
    pub until: Timestamp,
}

/// Why nothing comes of what was said: a human has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The survivor was retired into the other before.
    Circle,
    /// The two that are to be parted are one by way of others; which of the joints is wrong?
    ByOthers,
}

impl Unclear {
    /// What is wrong.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Circle => "a merge in a circle: the survivor was merged into the other before",
            Self::ByOthers => "two that are unlinked were merged by way of others, not directly",
        }
    }
}

/// What was said so far.
#[derive(Clone, Debug, Default)]
pub struct Persons {
    /// A forest: between two subjects there is one way or none.
    joints: Vec<Joint>,
    parted: Vec<Parted>,
}

impl Persons {
    /// Takes what was said next; whether it changed who is one person.
    ///
    /// # Errors
    /// [`Unclear`]; nothing is changed then.
    pub fn say(&mut self, said: Said) -> Result<bool, Unclear> {
        let Said { act, from, into, .. } = said;
        match act {
            Act::Link | Act::Move => Ok(false),
            _ if from == into => Ok(false),
            Act::Unlink => self.part(said),
            Act::Merge | Act::Rekey if !self.all_of(from).contains(&into) => {
                let sides = [self.all_of(from), self.all_of(into)];
                self.joints.push(Joint { said, sides });
                Ok(true)
            }
            Act::Merge | Act::Rekey if !self.leads(into, from) => Ok(false),
            // A number that is changed back is no circle.
            Act::Rekey => {
                let back = |it: &&mut Joint| (it.said.from, it.said.into) == (into, from);
                let back = self.joints.iter_mut().find(back);
                let back = back.filter(|it| it.said.act == Act::Rekey).ok_or(Unclear::Circle)?;
                back.said = Said { from, into, ..back.said };
                back.sides.reverse();
                Ok(true)
            }
            Act::Merge => Err(Unclear::Circle),
        }
    }

    fn part(&mut self, said: Said) -> Result<bool, Unclear> {
        let pair = [said.from, said.into];
        let joins = |joint: &Joint| {
            pair == [joint.said.from, joint.said.into] || pair == [joint.said.into, joint.said.from]
        };
        let Some(at) = self.joints.iter().position(joins) else {
            let together = self.all_of(said.from).contains(&said.into);
            return if together { Err(Unclear::ByOthers) } else { Ok(false) };
        };
        let before = self.clone();
        self.joints.remove(at);
        let others = self.all_of(said.into);
        for one in self.all_of(said.from) {
            for (other, from) in before.since(one) {
                if others.contains(&other) {
                    self.parted.push(Parted { pair: [one, other], from, until: said.at });
                }
            }
        }
        Ok(true)
    }

    /// All who are one with a subject, itself first.
    #[must_use]
    pub fn all_of(&self, subject: usize) -> Vec<usize> {
        self.ways(subject).into_iter().map(|way| way.to).collect()
    }

    /// The way to everybody who is one with a subject: each behind the one that it goes by.
    #[must_use]
    pub fn ways(&self, subject: usize) -> Vec<Way> {
        let mut ways = vec![Way { to: subject, by: None }];
        let mut next = 0;
        while let Some(Way { to, .. }) = ways.get(next).copied() {
            for (at, Joint { said, .. }) in self.joints.iter().enumerate() {
                let other = match to {
                    to if to == said.from => said.into,
                    to if to == said.into => said.from,
                    _ => continue,
                };
                if !ways.iter().any(|way| way.to == other) {
                    ways.push(Way { to: other, by: Some((next, at)) });
                }
            }
            next += 1;
        }
        ways
    }

    /// What joins, in the order it was said.
    #[must_use]
    pub fn joints(&self) -> &[Joint] {
        &self.joints
    }

    /// Who was one for a while.
    #[must_use]
    pub fn parted(&self) -> &[Parted] {
        &self.parted
    }

    /// The one that a subject goes by: where what was said last leads.
    #[must_use]
    pub fn survivor(&self, subject: usize) -> usize {
        let all = self.all_of(subject);
        let last = |is: &dyn Fn(&Said) -> bool| {
            self.joints.iter().rev().map(|joint| joint.said).find(|said| is(said))
        };
        let Some(last_said) = last(&|said| all.contains(&said.from)) else { return subject };
        let mut survivor = last_said.into;
        // There is one way at most between two, so this ends.
        while let Some(said) = last(&|said| said.from == survivor) {
            survivor = said.into;
        }
        survivor
    }

    /// Since when a subject is one with each of the others.
    fn since(&self, subject: usize) -> Vec<(usize, Timestamp)> {
        let mut since: Vec<(usize, Timestamp)> = Vec::new();
        for way in self.ways(subject) {
            let Some((before, joint)) = way.by else {
                since.push((way.to, Timestamp::MIN));
                continue;
            };
            let earlier = since.get(before).map_or(Timestamp::MIN, |(_, at)| *at);
            let at = self.joints.get(joint).map_or(Timestamp::MAX, |joint| joint.said.at);
            since.push((way.to, earlier.max(at)));
        }
        since
    }

    /// Whether one was retired into the other, directly or by way of others.
    fn leads(&self, one: usize, other: usize) -> bool {
        let mut reached = vec![one];
        let mut next = 0;
        while let Some(at) = reached.get(next).copied() {
            let steps = self.joints.iter().filter(|joint| joint.said.from == at);
            reached.extend(steps.map(|joint| joint.said.into));
            next += 1;
        }
        reached.contains(&other)
    }
}

/// One step of the way from a subject to all who are one with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whom it leads to.
    pub to: usize,
    /// The way before, and the joint that it goes on by; nothing for the subject itself.
    pub by: Option<(usize, usize)>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(act: Act, from: usize, into: usize, number: u64) -> Said {
        let at = Timestamp::from_second(number.cast_signed() * 100).unwrap();
        Said { act, from, into, at, number }
    }

    fn after(all: &[(Act, usize, usize)]) -> (Persons, Vec<Result<bool, Unclear>>) {
        let mut persons = Persons::default();
        let heard = (1..)
            .zip(all)
            .map(|(number, (act, from, into))| persons.say(said(*act, *from, *into, number)));
        let heard = heard.collect();
        (persons, heard)
    }

    fn seconds(at: u64) -> Timestamp {
        Timestamp::from_second(at.cast_signed() * 100).unwrap()
    }

    #[test]
    fn a_chain_is_one_person_and_goes_by_its_last_survivor() {
        let (persons, heard) = after(&[(Act::Merge, 0, 1), (Act::Merge, 1, 2), (Act::Merge, 3, 2)]);
        assert_eq!(heard, [Ok(true); 3]);
        for subject in 0..4 {
            assert_eq!(persons.survivor(subject), 2);
            assert_eq!(persons.all_of(subject).len(), 4);
        }
        assert_eq!((persons.survivor(4), persons.all_of(4)), (4, vec![4]));
        let since = persons.since(0);
        assert_eq!(since[1..], [(1, seconds(1)), (2, seconds(2)), (3, seconds(3))]);
    }

    #[test]
    fn what_is_said_again_changes_nothing_and_a_circle_is_refused() {
        use Act::{Link, Merge, Move, Rekey, Unlink};
        let (_, heard) = after(&[
            (Merge, 0, 1),
            (Merge, 0, 1),
            (Merge, 1, 2),
            (Merge, 0, 2),
            (Merge, 2, 0),
            (Merge, 1, 0),
            (Rekey, 2, 1),
            (Merge, 3, 2),
            (Merge, 3, 0),
            (Link, 5, 6),
            (Move, 5, 6),
            (Unlink, 5, 6),
            (Merge, 5, 5),
        ]);
        let circle = Err(Unclear::Circle);
        let nothing = Ok(false);
        assert_eq!(heard[..5], [Ok(true), nothing, Ok(true), nothing, circle]);
        assert_eq!(heard[5..9], [circle, circle, Ok(true), nothing]);
        assert_eq!(heard[9..], [nothing; 4]);
    }

    #[test]
    fn a_number_that_is_changed_back_is_no_circle() {
        let (persons, heard) = after(&[(Act::Rekey, 0, 1), (Act::Rekey, 1, 0)]);
        assert_eq!(heard, [Ok(true); 2]);
        assert_eq!((persons.survivor(0), persons.survivor(1)), (0, 0));
        let (_, heard) = after(&[(Act::Merge, 0, 1), (Act::Rekey, 1, 0)]);
        assert_eq!(heard[1], Err(Unclear::Circle));
    }

    #[test]
    fn who_is_unlinked_was_one_with_all_of_the_others_for_a_while() {
        let chain = [(Act::Merge, 0, 1), (Act::Merge, 1, 2), (Act::Unlink, 1, 0)];
        let (persons, heard) = after(&chain);
        assert_eq!(heard, [Ok(true); 3]);
        assert_eq!((persons.survivor(0), persons.survivor(1)), (0, 2));
        let parted = |one, other, from| Parted {
            pair: [one, other],
            from: seconds(from),
            until: seconds(3),
        };
        assert_eq!(persons.parted(), [parted(1, 0, 1), parted(2, 0, 2)]);
        // Who was merged with whom, where it is not said directly, is not guessed.
        let (_, heard) = after(&[chain[0], chain[1], (Act::Unlink, 0, 2)]);
        assert_eq!(heard[2], Err(Unclear::ByOthers));
        // What was taken back may be said the other way round.
        let (persons, heard) =
            after(&[(Act::Merge, 0, 1), (Act::Unlink, 0, 1), (Act::Merge, 1, 0)]);
        assert_eq!(heard, [Ok(true); 3]);
        assert_eq!(persons.survivor(1), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Whatever is said: who is one is one with each other, goes by one survivor, and the ways
        /// are a tree; what is refused or said again changes nothing.
        #[test]
        fn whatever_is_said_persons_stay_apart_or_one(
            all in proptest::collection::vec((0..5_usize, 0..7_usize, 0..7_usize), 0..40)
        ) {
            let mut persons = Persons::default();
            for (number, (act, from, into)) in (1..).zip(all) {
                let before = persons.clone();
                let heard = persons.say(said(Act::ALL[act], from, into, number));
                if heard != Ok(true) {
                    prop_assert_eq!(&before.joints, &persons.joints);
                    prop_assert_eq!(&before.parted, &persons.parted);
                }
                for one in 0..7 {
                    let all = persons.all_of(one);
                    let survivor = persons.survivor(one);
                    prop_assert!(all.contains(&survivor));
                    let inner = persons.joints.iter().filter(|it| all.contains(&it.said.from));
                    prop_assert_eq!(inner.count(), all.len() - 1);
                    for other in &all {
                        prop_assert_eq!(persons.survivor(*other), survivor);
                        prop_assert!(persons.all_of(*other).contains(&one));
                    }
                }
            }
        }

        /// What is merged and unmerged again leaves who is one as it was.
        #[test]
        fn an_unmerge_restores_who_is_one(
            all in proptest::collection::vec((0..5_usize, 0..7_usize, 0..7_usize), 0..20),
            from in 0..7_usize,
            into in 0..7_usize,
        ) {
            let mut persons = Persons::default();
            for (number, (act, from, into)) in (1..).zip(all) {
                persons.say(said(Act::ALL[act], from, into, number)).ok();
            }
            let groups = |persons: &Persons| -> Vec<Vec<usize>> {
                let of = |one| { let mut all = persons.all_of(one); all.sort_unstable(); all };
                (0..7).map(of).collect()
            };
            let survivors = |persons: &Persons| -> Vec<usize> {
                (0..7).map(|one| persons.survivor(one)).collect()
            };
            let before = persons.clone();
            if persons.say(said(Act::Merge, from, into, 50)) == Ok(true) {
                persons.say(said(Act::Unlink, into, from, 51)).unwrap();
                prop_assert_eq!(groups(&before), groups(&persons));
                prop_assert_eq!(survivors(&before), survivors(&persons));
            }
        }
    }
}
