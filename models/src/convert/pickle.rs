//! Reads the pickles that `torch.save` writes of a dictionary of tensors: a small stack machine that builds numbers,
//! strings, tuples and descriptions of tensors, and nothing else. Its memory is bounded by the pickle's length.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::rc::Rc;

/// What may be wrong with a pickle, in words.
pub(super) type Result<T> = std::result::Result<T, String>;

/// The longest string, of any use in a file of tensors.
const MAX_TEXT: u32 = 1 << 16;
/// How deep tuples may nest.
const MAX_DEPTH: usize = 16;

/// A piece of memory in the file that tensors are views of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Storage {
    /// Its name within the file.
    pub(super) key: Rc<str>,
    /// torch's name of the type, such as `FloatStorage`.
    pub(super) class: Rc<str>,
    /// Number of elements.
    pub(super) len: usize,
}

/// A tensor: a strided view of a storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) storage: Rc<Storage>,
    /// First element in the storage.
    pub(super) offset: usize,
    /// Dimensions, slowest first.
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next, per dimension.
    pub(super) strides: Vec<usize>,
}

/// A value on the machine's stack. Containers are shared, as in Python, so copies are cheap.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(i64),
    Text(Rc<str>),
    Tuple(Rc<Tuple>),
    /// The strings of a list.
    List(Rc<RefCell<Vec<Rc<str>>>>),
    /// The tensors of a dictionary with names.
    Dict(Rc<RefCell<Vec<(Rc<str>, Rc<View>)>>>),
    /// Module and name.
    Class(Rc<str>, Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<View>),
    Mark,
    /// Something of no interest.
    Other,
}

/// The values of a tuple, and how deep they nest.
#[derive(Debug)]
pub(super) struct Tuple {
    depth: usize,
    items: Vec<Value>,
}

impl Value {
    fn usize(&self) -> Result<usize> {
        match self {
            Self::Int(value) => usize::try_from(*value).map_err(|_| format!("{value} where a size should be")),
            other => Err(format!("{} where a size should be", other.kind())),
        }
    }

    fn tuple(&self) -> Result<&[Self]> {
        match self {
            Self::Tuple(tuple) => Ok(&tuple.items),
            other => Err(format!("{} where a tuple should be", other.kind())),
        }
    }

    fn sizes(&self) -> Result<Vec<usize>> {
        self.tuple()?.iter().map(Self::usize).collect()
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "a number",
            Self::Text(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Class(..) => "a class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Mark => "a mark",
            Self::Other => "something else",
        }
    }
}

/// Reads one pickle from `input`, up to and with its end.
pub(super) fn read(input: &mut impl BufRead) -> Result<Value> {
    let mut machine = Machine { input, stack: Vec::new(), memo: HashMap::new() };
    while machine.step()? {}
    machine.pop()
}

struct Machine<'a, R> {
    input: &'a mut R,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl<R: BufRead> Machine<'_, R> {
    /// Runs one instruction; `false` at the end of the pickle.
    fn step(&mut self) -> Result<bool> {
        let [code] = self.bytes()?;
        match code {
            b'.' => return Ok(false),
            // The protocol's version.
            0x80 => {
                self.bytes::<1>()?;
            }
            b'(' => self.stack.push(Value::Mark),
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Other),
            b'G' => {
                self.bytes::<8>()?;
                self.stack.push(Value::Other);
            }
            b'K' => {
                let [value] = self.bytes()?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let text = self.text()?;
                self.stack.push(Value::Text(text));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Class(module, name));
            }
            b']' => self.stack.push(Value::List(Rc::default())),
            b'}' => self.stack.push(Value::Dict(Rc::default())),
            b')' => self.push_tuple(Vec::new())?,
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                let items = self.stack.split_off(start);
                self.push_tuple(items)?;
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_tuple(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append([item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(&items)?;
            }
            b'q' => {
                let [id] = self.bytes()?;
                self.remember(id.into())?;
            }
            b'r' => {
                let id = u32::from_le_bytes(self.bytes()?);
                self.remember(id)?;
            }
            b'h' => {
                let [id] = self.bytes()?;
                self.recall(id.into())?;
            }
            b'j' => {
                let id = u32::from_le_bytes(self.bytes()?);
                self.recall(id)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.stack.push(storage(&id)?);
            }
            // A class called with arguments.
            b'R' | 0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.stack.push(call(&class, &arguments)?);
            }
            // An object's attributes: state dictionaries carry versions of modules there.
            b'b' => {
                self.pop()?;
            }
            other => return Err(format!("instruction 0x{other:02x}, which no file of tensors needs")),
        }
        Ok(true)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|e| format!("it ends early ({e})"))?;
        Ok(bytes)
    }

    /// An integer of up to 255 bytes.
    fn long(&mut self) -> Result<()> {
        let [count] = self.bytes()?;
        let mut all = [0; 255];
        let used = &mut all[..usize::from(count)];
        self.input.read_exact(used).map_err(|e| format!("it ends early ({e})"))?;
        let negative = used.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut value = [if negative { 0xff } else { 0 }; 8];
        self.stack.push(if used.len() <= 8 {
            value[..used.len()].copy_from_slice(used);
            Value::Int(i64::from_le_bytes(value))
        } else {
            Value::Other
        });
        Ok(())
    }

    fn text(&mut self) -> Result<Rc<str>> {
        let len = u32::from_le_bytes(self.bytes()?);
        if len > MAX_TEXT {
            return Err(format!("a string of {len} bytes"));
        }
        let mut text = vec![0; len as usize];
        self.input.read_exact(&mut text).map_err(|e| format!("it ends early ({e})"))?;
        String::from_utf8(text).map(Into::into).map_err(|_| "a string that is not UTF-8".to_owned())
    }

    fn line(&mut self) -> Result<Rc<str>> {
        let mut line = Vec::new();
        let mut input = self.input.take(u64::from(MAX_TEXT));
        input.read_until(b'\n', &mut line).map_err(|e| format!("it ends early ({e})"))?;
        if line.pop() != Some(b'\n') {
            return Err("the name of a class does not end".to_owned());
        }
        String::from_utf8(line).map(Into::into).map_err(|_| "a name that is not UTF-8".to_owned())
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or("a mark is missing")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<()> {
        let depth_of = |value: &Value| if let Value::Tuple(tuple) = value { tuple.depth } else { 0 };
        let depth = 1 + items.iter().map(depth_of).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err("tuples nest too deep".to_owned());
        }
        self.stack.push(Value::Tuple(Rc::new(Tuple { depth, items })));
        Ok(())
    }

    fn append(&mut self, items: impl IntoIterator<Item = Value>) -> Result<()> {
        let Some(Value::List(list)) = self.stack.last() else { return Err("a list is missing".to_owned()) };
        let texts = items.into_iter().filter_map(|item| if let Value::Text(text) = item { Some(text) } else { None });
        list.borrow_mut().extend(texts);
        Ok(())
    }

    /// Adds `[key, value, key, value ...]` to a dictionary.
    fn insert(&mut self, items: &[Value]) -> Result<()> {
        let Some(Value::Dict(dict)) = self.stack.last() else { return Err("a dictionary is missing".to_owned()) };
        for pair in items.chunks(2) {
            if let [Value::Text(name), Value::Tensor(view)] = pair {
                dict.borrow_mut().push((name.clone(), view.clone()));
            }
        }
        Ok(())
    }

    fn remember(&mut self, id: u32) -> Result<()> {
        let value = self.stack.last().ok_or("the stack is empty")?;
        self.memo.insert(id, value.clone());
        Ok(())
    }

    fn recall(&mut self, id: u32) -> Result<()> {
        let value = self.memo.get(&id).ok_or_else(|| format!("value {id} was never stored"))?;
        self.stack.push(value.clone());
        Ok(())
    }
}

/// What a persistent id stands for: `("storage", class, key, device, elements)`, in old files with a view as well.
fn storage(id: &Value) -> Result<Value> {
    match id.tuple()? {
        [Value::Text(kind), Value::Class(_, class), Value::Text(key), _, len, view @ ..] if &**kind == "storage" => {
            if !matches!(view, [] | [Value::Other]) {
                return Err("storages that are views of others".to_owned());
            }
            Ok(Value::Storage(Rc::new(Storage { key: key.clone(), class: class.clone(), len: len.usize()? })))
        }
        _ => Err("a reference to something that is not a storage".to_owned()),
    }
}

/// What calling a class would make, for the few that matter. Nothing is ever called.
fn call(class: &Value, arguments: &Value) -> Result<Value> {
    let Value::Class(module, name) = class else { return Ok(Value::Other) };
    match (&**module, &**name) {
        ("collections", "OrderedDict") => Ok(Value::Dict(Rc::default())),
        ("torch._utils", "_rebuild_parameter") => match arguments.tuple()? {
            [tensor @ Value::Tensor(_), ..] => Ok(tensor.clone()),
            _ => Err("a parameter that is not a tensor".to_owned()),
        },
        ("torch._utils", "_rebuild_tensor_v2") => match arguments.tuple()? {
            [Value::Storage(storage), offset, shape, strides, ..] => {
                let (shape, strides) = (shape.sizes()?, strides.sizes()?);
                if shape.len() != strides.len() {
                    return Err(format!("a tensor of shape {shape:?} with strides {strides:?}"));
                }
                Ok(Value::Tensor(Rc::new(View { storage: storage.clone(), offset: offset.usize()?, shape, strides })))
            }
            _ => Err("a tensor without storage, shape and strides".to_owned()),
        },
        _ => Ok(Value::Other),
    }
}
