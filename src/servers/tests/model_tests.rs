//! Who is behind, against a model that counts changes and knows no places of rules.

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Debug, Clone)]
enum ServersStep {
    /// The list gets these entries: a code with its first and last day in January 2100, 0 for none; retired ones with them.
    Edit {
        shown: Vec<(char, u32, u32)>,
        retired: bool,
    },
    /// A server is answered at once.
    Answer(usize),
    /// A server's answer begins, and ends later.
    Begin(usize),
    End,
    /// A day passes, seen or unseen.
    Day,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<ServersStep>> {
    let entry = (prop::sample::select(vec!['a', 'b', 'c']), 0..6u32, 0..6u32);
    let shown = prop::collection::btree_map(
        prop::sample::select(vec!['a', 'b', 'c']),
        entry.prop_map(|(_, from, until)| (from, until)),
        0..3,
    );
    let shown =
        shown.prop_map(|map| map.into_iter().map(|(code, (from, until))| (code, from, until)).collect());
    let step = prop_oneof![
        3 => (shown, any::<bool>()).prop_map(|(shown, retired)| ServersStep::Edit { shown, retired }),
        3 => (0..3usize).prop_map(ServersStep::Answer),
        1 => (0..3usize).prop_map(ServersStep::Begin),
        1 => Just(ServersStep::End),
        1 => Just(ServersStep::Day),
        2 => Just(ServersStep::Look),
    ];
    prop::collection::vec(step, 1..40)
}

/// Model of the rule: a server is current if its last answer came after the last change of what the shop shows.
struct ServersModel {
    entries: Vec<(char, u32, u32)>,
    day: u32,
    shown: Vec<bool>,
    changes: usize,
    /// Number of changes when the last complete answer of each server began.
    answered: BTreeMap<u8, usize>,
}

impl ServersModel {
    fn judge(&mut self) {
        let counts = |from, until| (from == 0 || from <= self.day) && (until == 0 || self.day <= until);
        let is_named = |code| self.entries.iter().any(|(c, from, until)| *c == code && counts(*from, *until));
        let now = ['a', 'b'].map(is_named).to_vec();
        self.changes += usize::from(now != self.shown);
        self.shown = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn who_is_behind_is_what_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps));
    }
}

async fn play(steps: Vec<ServersStep>) {
    let fixture = Fixture::new();
    let mut model = ServersModel {
        entries: vec![('a', 0, 0)],
        day: 1,
        shown: vec![true, false],
        changes: 0,
        answered: BTreeMap::new(),
    };
    let mut under_way = Vec::new();
    for step in steps {
        match step {
            ServersStep::Edit { shown, retired } => {
                // A window that ends before it begins is an error.
                if shown.iter().any(|(_, from, until)| *until != 0 && from > until) {
                    continue;
                }
                let bound = |name: &str, day: u32| match day {
                    0 => String::new(),
                    day => format!(", {name} = 2100-01-{day:02}"),
                };
                let entry = |(code, from, until): &(char, u32, u32)| {
                    format!("{{ code = \"{code}\"{}{} }}", bound("from", *from), bound("until", *until))
                };
                let entries = shown.iter().map(entry).collect::<Vec<_>>().join(", ");
                let retired = if retired { "retired = [\"z\"]" } else { "" };
                fixture.edit(&format!("extensions = [{entries}]\n{retired}"));
                model.entries = shown;
                model.judge();
            }
            ServersStep::Answer(n) => {
                fixture.answer(n);
                model.answered.insert(n as u8, model.changes);
            }
            ServersStep::Begin(n) => under_way.push((n, fixture.begin(n, ShopName::DEFAULT), model.changes)),
            ServersStep::End => {
                if let Some((n, begun, changes)) = under_way.pop() {
                    fixture.end(begun);
                    model.answered.insert(n as u8, changes);
                }
            }
            ServersStep::Day => {
                advance(DAY).await;
                model.day += 1;
                model.judge();
            }
            ServersStep::Look => look(&fixture, &model),
        }
        // Far enough from the seven days.
        if model.day > 6 {
            break;
        }
    }
    look(&fixture, &model);
}

fn look(fixture: &Fixture, model: &ServersModel) {
    let expected: Vec<_> =
        model.answered.iter().map(|(n, changes)| (*n, *changes == model.changes)).collect();
    assert_eq!(fixture.current(), expected);
}
