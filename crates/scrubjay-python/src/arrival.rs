//! Memories on their way into the instances that they were made for.
//!
//! A memory is put into an instance's dictionary in two steps, a look and a write, which no lock can join: either may
//! wait for the dictionary, and run the `__eq__` of a key in there. Invariant: threads that do it at once for one place
//! all bring the same memory, the first one's, so it does not matter in which order they look and write.

use crate::memory::Memory;
use crate::object::{Guarded, Obj};
use pyo3::prelude::*;

static ARRIVING: Guarded<Vec<Arriving>> = Guarded::new(Vec::new());

/// The addresses of an instance and of the attribute's name, both alive for as long as anybody takes part.
type Place = (usize, usize);

#[derive(Debug)]
struct Arriving {
    place: Place,
    memory: Obj,
    taking_part: usize,
}

/// A thread's part in giving an instance its memory.
#[derive(Debug)]
pub(crate) struct Arrival {
    place: Place,
    memory: Obj,
}

impl Arrival {
    /// Takes part, with this memory if nobody brings one yet.
    pub(crate) fn of(
        memory: &Bound<'_, Memory>,
        attribute: &Bound<'_, PyAny>,
        instance: &Bound<'_, PyAny>,
    ) -> Self {
        let place = (instance.as_ptr().addr(), attribute.as_ptr().addr());
        let own = Obj::from_bound(memory.as_any());
        let memory = ARRIVING.with(|all| {
            if let Some(arriving) = all.iter_mut().find(|other| other.place == place) {
                arriving.taking_part += 1;
                return arriving.memory.clone();
            }
            all.push(Arriving {
                place,
                memory: own.clone(),
                taking_part: 1,
            });
            own.clone()
        });
        Self { place, memory }
    }

    /// The memory that all bring.
    pub(crate) fn memory(&self) -> &Obj {
        &self.memory
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let _gone = ARRIVING.with(|all| {
            let position = all.iter().position(|one| one.place == self.place)?;
            all[position].taking_part -= 1;
            (all[position].taking_part == 0).then(|| all.swap_remove(position))
        });
    }
}

/// Called in a child process, which has none of the threads that took part.
pub(crate) fn forget() {
    drop(ARRIVING.with(std::mem::take));
}
