//! Handles: what other languages hold of an object is a number, a slot of a table and how often it was used before. A
//! number of an object that was closed stands for nothing, whatever took its slot.

use std::any::Any;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::failure::{Failure, Result};

/// Something that a handle stands for.
pub(crate) trait Object: Any + Send + Sync {
    /// Ends what it computes, without waiting for it.
    fn stop(&self);

    /// Waits until nothing of it computes any more: after [`Object::stop`], for one layer of one chunk.
    fn wait(&self);
}

/// A slot: its object, what closes it too, and how often the slot was used before.
#[derive(Default)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

struct Entry {
    object: Arc<dyn Object>,
    parent: Option<u64>,
    /// Whether somebody is closing it: its handle stands for nothing any more.
    closing: bool,
}

/// All objects. `0` is never a handle.
#[derive(Default)]
pub(crate) struct Handles {
    slots: Mutex<Vec<Slot>>,
    closed: Condvar,
}

/// Those of the library.
pub(crate) static HANDLES: LazyLock<Handles> = LazyLock::new(Handles::default);

fn handle_of(slot: usize, generation: u32) -> u64 {
    (u64::from(generation) << 32) | (slot as u64 + 1)
}

fn slot_of(handle: u64) -> Option<(usize, u32)> {
    let slot = (handle & u64::from(u32::MAX)).checked_sub(1)?;
    Some((slot as usize, (handle >> 32) as u32))
}

impl Handles {
    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an object, which is closed with `parent`. Where that is closed already, the object is stopped.
    ///
    /// # Errors
    /// The parent is closed.
    pub(crate) fn add(&self, object: Arc<dyn Object>, parent: Option<u64>) -> Result<u64> {
        let mut slots = self.slots();
        if parent.is_some_and(|parent| entry(&slots, parent).is_none()) {
            drop(slots);
            object.stop();
            object.wait();
            return Err(Failure::Closed("closed while something was begun on it"));
        }
        let free = slots.iter().position(|slot| slot.entry.is_none() && slot.generation < u32::MAX);
        let slot = free.unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        slots[slot].generation += 1;
        slots[slot].entry = Some(Entry { object, parent, closing: false });
        Ok(handle_of(slot, slots[slot].generation))
    }

    /// The object that `handle` stands for.
    ///
    /// # Errors
    /// It is closed, or is something else.
    pub(crate) fn get<T: Object>(&self, handle: u64) -> Result<Arc<T>> {
        let object = entry(&self.slots(), handle).map(|entry| entry.object.clone());
        let object: Option<Arc<dyn Any + Send + Sync>> = object.map(|object| object as _);
        object.and_then(|object| object.downcast().ok()).ok_or(Failure::Closed("closed"))
    }

    /// Closes an object and all that was begun on it: ends what they compute, and waits until that has ended, also where
    /// somebody else is closing them. Does nothing where it is closed already.
    pub(crate) fn close(&self, handle: u64) {
        let (mut closed, mut elsewhere) = (Vec::new(), Vec::new());
        let mut found = vec![handle];
        let mut slots = self.slots();
        while let Some(handle) = found.pop() {
            let Some(entry) = slot_of(handle).and_then(|(slot, generation)| held(&mut slots, slot, generation)) else {
                continue;
            };
            if entry.closing {
                elsewhere.push(handle);
            } else {
                entry.closing = true;
                closed.push((handle, entry.object.clone()));
            }
            let children = slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.entry.as_ref().is_some_and(|entry| entry.parent == Some(handle)));
            found.extend(children.map(|(child, slot)| handle_of(child, slot.generation)));
        }
        drop(slots);
        closed.iter().for_each(|(_, object)| object.stop());
        closed.iter().for_each(|(_, object)| object.wait());
        let mut slots = self.slots();
        for (handle, _) in &closed {
            if let Some((slot, _)) = slot_of(*handle) {
                slots[slot].entry = None;
            }
        }
        self.closed.notify_all();
        // One's own first, then those of others: so nobody waits for who waits for him.
        let under_way = |slots: &mut Vec<Slot>| {
            elsewhere
                .iter()
                .filter_map(|&handle| slot_of(handle))
                .any(|(slot, number)| held(slots, slot, number).is_some())
        };
        drop(self.closed.wait_while(slots, |slots| under_way(slots)).unwrap_or_else(PoisonError::into_inner));
    }

    /// How many objects are open.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn open(&self) -> usize {
        self.slots().iter().filter(|slot| slot.entry.is_some()).count()
    }
}

/// What is open under a handle.
fn entry(slots: &[Slot], handle: u64) -> Option<&Entry> {
    let (slot, generation) = slot_of(handle)?;
    let slot = slots.get(slot).filter(|slot| slot.generation == generation)?;
    slot.entry.as_ref().filter(|entry| !entry.closing)
}

/// What is open in a slot, or is being closed.
fn held(slots: &mut [Slot], slot: usize, generation: u32) -> Option<&mut Entry> {
    slots.get_mut(slot).filter(|slot| slot.generation == generation)?.entry.as_mut()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Counted {
        stopped: AtomicUsize,
        waited: AtomicUsize,
    }

    impl Object for Counted {
        fn stop(&self) {
            self.stopped.fetch_add(1, Ordering::Relaxed);
        }
        fn wait(&self) {
            assert!(self.stopped.load(Ordering::Relaxed) > 0);
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Other;

    impl Object for Other {
        fn stop(&self) {}
        fn wait(&self) {}
    }

    #[test]
    fn a_handle_of_a_closed_object_stands_for_nothing() {
        let handles = Handles::default();
        let first = handles.add(Arc::new(Counted::default()), None).unwrap();
        handles.close(first);
        let second = handles.add(Arc::new(Counted::default()), None).unwrap();
        assert_eq!(first as u32, second as u32, "the slot is used again");
        assert!(matches!(handles.get::<Counted>(first), Err(Failure::Closed(_))));
        handles.close(first);
        assert!(handles.get::<Counted>(second).is_ok());
        assert!(matches!(handles.get::<Other>(second), Err(Failure::Closed(_))), "another kind of object");
        for nothing in [0, 1 << 32, u64::MAX, second ^ (1 << 40), second + 1] {
            assert!(handles.get::<Counted>(nothing).is_err(), "{nothing:x}");
            handles.close(nothing);
        }
        assert_eq!(handles.open(), 1);
    }

    /// Computes until it is let go.
    struct Slow {
        waiting: mpsc::Sender<()>,
        let_go: Mutex<mpsc::Receiver<()>>,
        log: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Object for Slow {
        fn stop(&self) {}
        fn wait(&self) {
            let _ = self.waiting.send(());
            let _ = self.let_go.lock().unwrap().recv();
            self.log.lock().unwrap().push("ended");
        }
    }

    /// Who closes second, the object itself or what it was begun on, returns only when nothing computes any more.
    #[test]
    fn everybody_who_closes_waits() {
        let handles = Handles::default();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (waiting, first) = mpsc::channel();
        let (let_go, held) = mpsc::channel();
        let slow = Slow { waiting, let_go: Mutex::new(held), log: log.clone() };
        let parent = handles.add(Arc::new(Counted::default()), None).unwrap();
        let child = handles.add(Arc::new(slow), Some(parent)).unwrap();
        std::thread::scope(|scope| {
            let close = |handle, name| {
                handles.close(handle);
                log.lock().unwrap().push(name);
            };
            scope.spawn(move || close(child, "closed"));
            first.recv().unwrap();
            assert!(handles.get::<Slow>(child).is_err(), "it stands for nothing from the beginning of its end");
            let (begun, beginning) = mpsc::channel();
            for handle in [child, parent] {
                let begun = begun.clone();
                scope.spawn(move || {
                    begun.send(()).unwrap();
                    close(handle, "closed");
                });
            }
            (0..2).for_each(|_| beginning.recv().unwrap());
            // Time for a mistake: to return at once.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let_go.send(()).unwrap();
        });
        assert_eq!(*log.lock().unwrap(), ["ended", "closed", "closed", "closed"]);
        assert_eq!(handles.open(), 0);
    }

    #[test]
    fn closing_a_parent_closes_its_children_once() {
        let handles = Handles::default();
        let objects: Vec<_> = (0..4).map(|_| Arc::new(Counted::default())).collect();
        let parent = handles.add(objects[0].clone(), None).unwrap();
        let child = handles.add(objects[1].clone(), Some(parent)).unwrap();
        let grandchild = handles.add(objects[2].clone(), Some(child)).unwrap();
        handles.close(grandchild);
        handles.close(parent);
        handles.close(child);
        assert_eq!(handles.open(), 0);
        assert!(handles.add(objects[3].clone(), Some(parent)).is_err());
        for object in objects {
            assert_eq!((object.stopped.load(Ordering::Relaxed), object.waited.load(Ordering::Relaxed)), (1, 1));
            assert_eq!(Arc::strong_count(&object), 1, "given back");
        }
    }
}
