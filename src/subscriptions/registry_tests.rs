//! Bounds, ids and eras.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn event(name: &str) -> Filter {
    Filter::parse(json!({"localEventName": [name]}).to_string().as_bytes()).unwrap()
}

/// `values` of so many bytes in each of the fields.
fn large(values: usize, bytes: usize) -> Filter {
    let value = |n: usize| format!("{n:0bytes$}");
    let values: Vec<_> = (0..values).map(value).collect();
    let body = json!({"localEventName": values, "nfNamingCode": values, "nfcNamingCode": values, "localNfId": values});
    Filter::parse(body.to_string().as_bytes()).unwrap()
}

fn full() -> Registry {
    let mut registry = Registry::default();
    for number in 0..SUBSCRIPTIONS {
        registry.add(event(&format!("E{number}")), 0).unwrap();
    }
    registry
}

fn ids(registry: &Registry) -> Vec<&str> {
    registry.subscriptions.iter().map(|s| &*s.id).collect()
}

#[test]
fn ids_have_six_digits_and_are_not_given_twice() {
    let mut registry = Registry::default();
    for (random, id) in [
        (0, "100000"),
        (0, "100001"),
        (1, "100002"),
        (899_999, "999999"),
        (899_999, "100003"),
        (900_000, "100004"),
        (u64::MAX, "751615"),
    ] {
        let added = registry.add(event("E"), random).unwrap();
        assert_eq!(added.id, id, "{random}");
        assert!(is_id(&added.id));
    }
    registry.remove("100000").unwrap();
    assert_eq!(registry.add(event("E"), 0).unwrap().id, "100000");
}

#[test]
fn what_is_no_id() {
    for text in [
        "", "1", "12345", "1234567", "012345", "12345x", "+12345", "１２",
    ] {
        assert!(!is_id(text), "{text}");
    }
}

#[test]
fn at_the_bound_the_oldest_that_wants_the_same_gives_way() {
    let mut registry = full();
    let oldest = registry.subscriptions[7].id.clone();
    let first = registry.add(event("E7"), 0).unwrap();
    assert_eq!(first.replaced, Some(oldest.clone()));
    assert!(!first.begins_era);
    assert_eq!(registry.subscriptions.len(), SUBSCRIPTIONS);
    assert_eq!(*ids(&registry).last().unwrap(), first.id);
    // The next one replaces that one: nobody else's is touched.
    let second = registry.add(event("E7"), 0).unwrap();
    assert_eq!(second.replaced, Some(first.id));
    assert_eq!(registry.era(), Some(1));
}

#[test]
fn at_the_bound_another_wish_is_refused() {
    let mut registry = full();
    assert!(matches!(
        registry.add(event("new"), 0),
        Err(ChangeError::Full)
    ));
    assert_eq!(registry, full(), "nothing has changed");
    // Below the bound the same wish is added beside the other.
    let id = registry.subscriptions[0].id.clone();
    registry.remove(&id).unwrap();
    assert_eq!(registry.add(event("E7"), 0).unwrap().replaced, None);
}

#[test]
fn the_bytes_of_all_have_a_bound_too() {
    let mut registry = Registry::default();
    let filter = large(64, 256);
    let most = SUBSCRIPTIONS_BYTES / filter.bytes();
    for number in 0..most {
        let added = registry.add(filter.clone(), 0).unwrap();
        assert_eq!(added.replaced, None, "{number}");
    }
    assert!(matches!(
        registry.add(event("E"), 0),
        Err(ChangeError::Full)
    ));
    assert!(registry.add(filter, 0).unwrap().replaced.is_some());
    // A smaller one in place of a large one makes room, the other way round takes it.
    let (one, two) = (ids(&registry)[0].to_owned(), ids(&registry)[1].to_owned());
    registry.replace(&one, event("E")).unwrap();
    registry.replace(&two, event("E")).unwrap();
    registry.replace(&one, large(64, 256)).unwrap();
    let third = registry.add(event("E"), 0).unwrap().id;
    assert!(matches!(
        registry.replace(&third, large(64, 256)),
        Err(ChangeError::Full)
    ));
    assert_eq!(registry.get(&third), Some(&event("E")));
}

#[test]
fn what_gives_way_may_not_be_enough() {
    let mut registry = Registry::default();
    while registry.add(large(64, 256), 0).unwrap().replaced.is_none() {}
    let id = ids(&registry)[0].to_owned();
    registry.replace(&id, event("E")).unwrap();
    while registry
        .add(large(1, 256), 0)
        .is_ok_and(|added| added.replaced.is_none())
    {}
    // The same wish with each value said 64 times.
    let body = json!({"localEventName": vec!["E"; 64], "localNfId": vec!["x".repeat(256); 64]});
    let much = Filter::parse(body.to_string().as_bytes()).unwrap();
    let body = json!({"localEventName": ["E"], "localNfId": ["x".repeat(256)]});
    let little = Filter::parse(body.to_string().as_bytes()).unwrap();
    registry.replace(&id, little).unwrap();
    assert!(matches!(
        registry.clone().add(much, 0),
        Err(ChangeError::Full)
    ));
}

#[test]
fn an_id_that_nobody_has_is_unknown() {
    let mut registry = full();
    for id in ["1", "", "999999"] {
        assert!(registry.get(id).is_none());
        assert!(matches!(registry.remove(id), Err(ChangeError::Unknown)));
        assert!(matches!(
            registry.replace(id, event("E")),
            Err(ChangeError::Unknown)
        ));
    }
    assert_eq!(registry, full());
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, u64),
    Replace(u8, u8),
    Remove(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u8>(), 0..4u64).prop_map(|(name, random)| Step::Add(name, random)),
        (any::<u8>(), any::<u8>()).prop_map(|(at, name)| Step::Replace(at, name)),
        any::<u8>().prop_map(Step::Remove),
    ]
}

proptest! {
    /// Against a list, with the number of times that it became not empty.
    #[test]
    fn any_changes_leave_what_was_asked_for(steps in proptest::collection::vec(any_step(), 0..40)) {
        let mut registry = Registry::default();
        let mut model: Vec<(String, Filter)> = Vec::new();
        let mut eras = 0;
        let filter = |name: u8| event(&name.to_string());
        for step in steps {
            let chosen = |at: u8| usize::from(at) % model.len().max(1);
            match step {
                Step::Add(name, random) => {
                    let added = registry.add(filter(name), random).unwrap();
                    prop_assert_eq!(added.begins_era, model.is_empty());
                    prop_assert_eq!(added.replaced, None);
                    eras += u64::from(added.begins_era);
                    model.push((added.id, filter(name)));
                    if added.begins_era {
                        prop_assert_eq!(&registry.position, &Position::default());
                        registry.position.joined = true;
                    }
                }
                Step::Replace(at, name) if !model.is_empty() => {
                    let at = chosen(at);
                    registry.replace(&model[at].0, filter(name)).unwrap();
                    model[at].1 = filter(name);
                }
                Step::Remove(at) if !model.is_empty() => {
                    let (id, _) = model.remove(chosen(at));
                    registry.remove(&id).unwrap();
                }
                _ => {}
            }
            prop_assert_eq!(registry.era(), (!model.is_empty()).then_some(eras));
            prop_assert_eq!(registry.position.joined, !model.is_empty());
            let ids: BTreeSet<_> = ids(&registry).into_iter().collect();
            prop_assert_eq!(ids.len(), model.len());
            for (id, filter) in &model {
                prop_assert_eq!(registry.get(id), Some(filter));
            }
        }
    }
}
