//! `#[memoize]` on methods: inherent ones, associated functions, and those of traits.
#![cfg(feature = "macros")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod runs;

use std::sync::Arc;

use runs::Runs;
use scrubjay::memoize;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Shape {
    width: u32,
    height: u32,
}

static AREAS: Runs = Runs::new();

impl Shape {
    const UNIT: u32 = 1;

    #[memoize]
    fn area(&self) -> u32 {
        AREAS.count();
        self.width * self.height
    }

    #[memoize(ignore(self))]
    fn constant(&self, n: u32) -> u32 {
        n + self.width
    }

    #[memoize(key = (self.width, by))]
    pub fn widened(&self, by: u32) -> Self {
        Self {
            width: self.width + by,
            height: self.height,
        }
    }

    #[memoize]
    fn turned(mut self) -> Self {
        std::mem::swap(&mut self.width, &mut self.height);
        let Self { width, height } = self;
        Self { width, height }
    }

    #[memoize]
    fn shared(self: Arc<Self>, label: &str) -> String {
        let width = format!("{}", self.width);
        let moved = self;
        format!("{label} {width} {}", moved.height)
    }

    #[memoize]
    fn square(side: u32) -> Self {
        Self {
            width: side,
            height: side,
        }
    }

    #[memoize(in_impl)]
    fn without_self(n: u32) -> u32 {
        n
    }

    #[memoize]
    fn unit(n: u32) -> u32 {
        n * Self::UNIT
    }

    #[memoize]
    fn contains<T>(&self, thing: &T) -> bool
    where
        T: Clone + std::hash::Hash + Eq + Into<u32> + Send + Sync + 'static,
    {
        thing.clone().into() < self.width
    }

    #[memoize(local)]
    fn on_this_thread(&self) -> std::rc::Rc<u32> {
        std::rc::Rc::new(self.height)
    }
}

fn shape() -> Shape {
    Shape {
        width: 2,
        height: 3,
    }
}

#[test]
fn self_is_part_of_the_key() {
    let other = Shape {
        width: 5,
        height: 5,
    };
    assert_eq!((shape().area(), other.area(), shape().area()), (6, 25, 6));
    assert_eq!(AREAS.so_far(), 2);
    assert_eq!(Shape::area_cache().get(&other), Some(25));
    assert_eq!(Shape::area_cache().name(), "Shape::area");
}

#[test]
fn self_may_be_ignored() {
    let other = Shape {
        width: 5,
        height: 5,
    };
    assert_eq!((shape().constant(1), other.constant(1)), (3, 3));
    assert_eq!(Shape::constant_cache().get(&1), Some(3));
}

#[test]
fn a_key_may_be_made_of_fields_of_self() {
    let higher = Shape {
        height: 99,
        ..shape()
    };
    assert_eq!(shape().widened(1), higher.widened(1));
    assert_eq!(Shape::widened_cache().len(), 1);
}

#[test]
fn self_may_be_taken_by_value_or_in_a_pointer() {
    let turned = Shape {
        width: 3,
        height: 2,
    };
    assert_eq!(
        (shape().turned(), shape().turned()),
        (turned.clone(), turned)
    );
    assert_eq!(Shape::turned_cache().stats().hits, 1);
    let pointer = Arc::new(shape());
    assert_eq!(
        (pointer.clone().shared("a"), pointer.shared("a")),
        ("a 2 3".into(), "a 2 3".into())
    );
    assert_eq!(Shape::shared_cache().stats().hits, 1);
}

#[test]
fn associated_functions_can_be_memoized() {
    assert_eq!(
        (Shape::square(2), Shape::square(2)),
        (
            Shape {
                width: 2,
                height: 2
            },
            Shape {
                width: 2,
                height: 2
            }
        )
    );
    assert_eq!((Shape::without_self(1), Shape::unit(1)), (1, 1));
    assert_eq!(Shape::square_cache().stats().hits, 1);
    assert_eq!(
        (Shape::without_self_cache().len(), Shape::unit_cache().len()),
        (1, 1)
    );
}

#[test]
fn a_generic_method_has_a_cache_for_each_instance() {
    assert!(shape().contains(&1_u8) && !shape().contains(&9_u16) && shape().contains(&1_u8));
    assert_eq!(Shape::contains_cache::<u8>().stats().hits, 1);
    assert_eq!(Shape::contains_cache::<u16>().len(), 1);
}

#[test]
fn a_local_method_has_a_cache_on_every_thread() {
    assert!(std::rc::Rc::ptr_eq(
        &shape().on_this_thread(),
        &shape().on_this_thread()
    ));
    assert_eq!(Shape::on_this_thread_cache().len(), 1);
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Wrapper<T>(T);

impl<T> Wrapper<T>
where
    T: Clone + PartialEq + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static,
{
    #[memoize]
    fn shown(&self) -> String {
        format!("{:?}", self.0)
    }

    #[memoize(in_impl)]
    fn size() -> usize {
        size_of::<T>()
    }
}

#[test]
fn a_method_of_a_generic_type_has_a_cache_for_each_instance() {
    assert_eq!(
        (
            Wrapper(1_u8).shown(),
            Wrapper("1").shown(),
            Wrapper(1_u8).shown()
        ),
        ("1".into(), "\"1\"".into(), "1".into())
    );
    assert_eq!(
        (
            Wrapper::<u8>::size(),
            Wrapper::<u64>::size(),
            Wrapper::<u8>::size()
        ),
        (1, 8, 1)
    );
    assert_eq!(Wrapper::<u8>::shown_cache().stats().hits, 1);
    assert_eq!(Wrapper::<u8>::shown_cache().name(), "Wrapper::shown");
}

struct Borrower<'a> {
    text: &'a str,
}

impl Borrower<'_> {
    #[memoize(key = (self.text, n))]
    fn nth(&self, n: usize) -> Option<char> {
        self.text.chars().nth(n)
    }

    #[memoize(ignore(self))]
    fn doubled(&self, n: usize) -> usize {
        n * 2
    }
}

#[test]
fn a_type_that_borrows_can_have_memoized_methods() {
    let text = String::from("abc");
    let borrower = Borrower { text: &text };
    assert_eq!(
        (borrower.nth(1), borrower.nth(1), borrower.doubled(4)),
        (Some('b'), Some('b'), 8)
    );
    assert_eq!(Borrower::nth_cache().stats().hits, 1);
}

trait Named {
    fn name(&self) -> String;

    #[memoize(in_trait)]
    fn length(&self, extra: usize) -> usize
    where
        Self: Clone + PartialEq + Eq + std::hash::Hash + Send + Sync + 'static,
    {
        self.name().len() + extra
    }

    #[memoize(in_trait, ignore(self))]
    fn id(&self) -> usize {
        self.name().len()
    }
}

static NAMES: Runs = Runs::new();

impl Named for Shape {
    #[memoize(in_trait)]
    fn name(&self) -> String {
        NAMES.count();
        format!("{}x{}", self.width, self.height)
    }
}

impl Named for Wrapper<u8> {
    #[memoize(in_trait, key = self.0)]
    fn name(&self) -> String {
        "a wrapper".to_owned()
    }
}

#[test]
fn methods_of_traits_can_be_memoized() {
    assert_eq!(
        (shape().name(), shape().name()),
        ("2x3".into(), "2x3".into())
    );
    assert_eq!(NAMES.so_far(), 1);
    assert_eq!(Wrapper(1_u8).name(), "a wrapper");
}

#[test]
fn default_methods_are_told_apart_by_the_type_that_has_them() {
    assert_eq!((shape().length(0), Wrapper(1_u8).length(0)), (3, 9));
    assert_eq!((shape().id(), Wrapper(1_u8).id(), shape().id()), (3, 9, 3));
}

#[test]
fn a_cycle_through_methods_names_their_type() {
    #[derive(Clone, PartialEq, Eq, Hash, Debug)]
    struct Node(u32);

    impl Node {
        #[memoize]
        fn depth(&self) -> u32 {
            Node((self.0 + 1) % 2).depth()
        }
    }

    let panic = std::panic::catch_unwind(|| Node(0).depth()).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("Node::depth(Node(0)) → Node::depth(Node(1)) → Node::depth(Node(0))"),
        "{message}"
    );
}
