//! The safe codec: values of Python's own types as bytes, and back.
//!
//! A value is a tag of one byte and its content; lengths and counts are LEB128. Types that are not built in are reduced
//! to a name and a state by a function of the caller's, and restored by another: which classes may come back is decided
//! there, in Python, and what can harm memory is decided here. Invariants: nothing that is decoded is executed; no
//! length is trusted before the bytes are there; depth is bounded. Parts that a value shares come back as copies, and a
//! cycle is refused by its depth.

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet,
    PyString, PyTuple,
};

/// How a payload is encoded, as records of a store say it.
pub(crate) const PYTHON: u8 = 3;

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;
/// Levels of containers; deeper values are refused.
const DEEPEST: u32 = 400;

/// What follows a tag.
mod tag {
    pub(super) const NONE: u8 = b'n';
    pub(super) const FALSE: u8 = b'0';
    pub(super) const TRUE: u8 = b'1';
    /// An integer of up to 64 bits, zigzag.
    pub(super) const INT: u8 = b'i';
    /// A length, and that many bytes of two's complement, the least first.
    pub(super) const LONG: u8 = b'I';
    pub(super) const FLOAT: u8 = b'f';
    pub(super) const COMPLEX: u8 = b'c';
    pub(super) const TEXT: u8 = b's';
    /// A text with lone surrogates, each as UTF-8 would have it if it could.
    pub(super) const SURROGATES: u8 = b'S';
    pub(super) const BYTES: u8 = b'b';
    pub(super) const BYTEARRAY: u8 = b'B';
    pub(super) const LIST: u8 = b'l';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const DICT: u8 = b'd';
    pub(super) const SET: u8 = b'e';
    pub(super) const FROZENSET: u8 = b'E';
    /// A name and a state, for everything else.
    pub(super) const OBJECT: u8 = b'o';
}

/// Encodes a value. `reduce(object)` returns `(name, state)` for what is not built in, or raises.
#[pyfunction]
pub(crate) fn encode<'py>(
    value: &Bound<'py, PyAny>,
    reduce: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut encoder = Encoder::new(Vec::new(), reduce);
    encoder.begin();
    encoder.value(value, 0)?;
    Ok(PyBytes::new(value.py(), &encoder.bytes))
}

/// Decodes what `encode` returned. `restore(name, state)` returns the object, or raises.
#[pyfunction]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    payload: &[u8],
    restore: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some((&VERSION, rest)) = payload.split_first() else {
        return Err(damaged(
            "it is in an encoding that this version does not know",
        ));
    };
    let mut decoder = Decoder { py, rest, restore };
    let value = decoder.value(0)?;
    match decoder.rest {
        [] => Ok(value),
        _ => Err(damaged("bytes follow the value")),
    }
}

pub(crate) struct Encoder<'a, 'py> {
    bytes: Vec<u8>,
    reduce: &'a Bound<'py, PyAny>,
}

impl<'a, 'py> Encoder<'a, 'py> {
    /// Goes on after these bytes. `reduce` is as for [`encode`].
    pub(crate) fn new(bytes: Vec<u8>, reduce: &'a Bound<'py, PyAny>) -> Self {
        Self { bytes, reduce }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The first byte of an encoding.
    pub(crate) fn begin(&mut self) {
        self.bytes.push(VERSION);
    }

    /// Adds what was encoded before.
    pub(crate) fn append(&mut self, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
    }

    /// Begins a list of so many values.
    pub(crate) fn list(&mut self, count: usize) {
        self.bytes.push(tag::LIST);
        self.number(count as u64);
    }

    pub(crate) fn plain_text(&mut self, text: &str) {
        self.blob(tag::TEXT, text.as_bytes());
    }

    pub(crate) fn small(&mut self, number: i64) {
        self.bytes.push(tag::INT);
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(crate) fn value(&mut self, value: &Bound<'py, PyAny>, depth: u32) -> PyResult<()> {
        if depth > DEEPEST {
            return Err(PyTypeError::new_err(
                "a value is nested too deeply to be stored, or contains itself",
            ));
        }
        // By exact type: a subclass is more than its base. Of dictionaries and sets copies, made in one step, because
        // `reduce` and other threads may change the originals.
        if let Ok(text) = value.cast_exact::<PyString>() {
            self.text(text)
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict, depth)
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.items(tag::LIST, list.len(), list.iter(), depth)
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.items(tag::TUPLE, tuple.len(), tuple.iter(), depth)
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            let items = PyList::type_object(value.py()).call1((set,))?;
            let items = items.cast_into::<PyList>()?;
            self.items(tag::SET, items.len(), items.iter(), depth)
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.items(tag::FROZENSET, set.len(), set.iter(), depth)
        } else {
            self.scalar(value, depth)
        }
    }

    fn scalar(&mut self, value: &Bound<'py, PyAny>, depth: u32) -> PyResult<()> {
        if value.is_none() {
            self.bytes.push(tag::NONE);
        } else if let Ok(flag) = value.cast_exact::<PyBool>() {
            self.bytes.push(if flag.is_true() {
                tag::TRUE
            } else {
                tag::FALSE
            });
        } else if let Ok(number) = value.cast_exact::<PyInt>() {
            self.integer(number)?;
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.bytes.push(tag::FLOAT);
            self.bytes.extend(number.value().to_le_bytes());
        } else if let Ok(number) = value.cast_exact::<PyComplex>() {
            self.bytes.push(tag::COMPLEX);
            self.bytes
                .extend(number.getattr("real")?.extract::<f64>()?.to_le_bytes());
            self.bytes
                .extend(number.getattr("imag")?.extract::<f64>()?.to_le_bytes());
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            self.blob(tag::BYTES, bytes.as_bytes());
        } else if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            self.blob(tag::BYTEARRAY, &bytes.to_vec());
        } else {
            self.object(value, depth)?;
        }
        Ok(())
    }

    fn object(&mut self, value: &Bound<'py, PyAny>, depth: u32) -> PyResult<()> {
        let reduced = self.reduce.call1((value,))?;
        let (name, state): (Bound<'py, PyString>, Bound<'py, PyAny>) = reduced.extract()?;
        self.bytes.push(tag::OBJECT);
        self.text(&name)?;
        self.value(&state, depth + 1)
    }

    fn items(
        &mut self,
        tag: u8,
        count: usize,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: u32,
    ) -> PyResult<()> {
        self.bytes.push(tag);
        self.number(count as u64);
        let mut seen = 0;
        for item in items {
            self.value(&item, depth + 1)?;
            seen += 1;
        }
        unchanged(seen == count)
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>, depth: u32) -> PyResult<()> {
        let copy = dict.copy()?;
        self.bytes.push(tag::DICT);
        self.number(copy.len() as u64);
        for (key, value) in copy {
            self.value(&key, depth + 1)?;
            self.value(&value, depth + 1)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &Bound<'py, PyString>) -> PyResult<()> {
        match text.to_str() {
            Ok(plain) => self.plain_text(plain),
            Err(_) => {
                let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
                self.blob(tag::SURROGATES, bytes.extract()?);
            }
        }
        Ok(())
    }

    fn integer(&mut self, number: &Bound<'py, PyInt>) -> PyResult<()> {
        if let Ok(small) = number.extract::<i64>() {
            self.small(small);
            return Ok(());
        }
        let bits: usize = number.call_method0("bit_length")?.extract()?;
        let options = PyDict::new(number.py());
        options.set_item("signed", true)?;
        let bytes = number.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&options))?;
        self.blob(tag::LONG, bytes.extract()?);
        Ok(())
    }

    fn blob(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.push(tag);
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }
}

struct Decoder<'a, 'py> {
    py: Python<'py>,
    rest: &'a [u8],
    restore: &'a Bound<'py, PyAny>,
}

impl<'a, 'py> Decoder<'a, 'py> {
    fn value(&mut self, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        if depth > DEEPEST {
            return Err(damaged("it is nested too deeply"));
        }
        match self.take(1)?[0] {
            tag::NONE => Ok(self.py.None().into_bound(self.py)),
            tag::FALSE => Ok(PyBool::new(self.py, false).to_owned().into_any()),
            tag::TRUE => Ok(PyBool::new(self.py, true).to_owned().into_any()),
            tag::INT => {
                let zigzag = self.number()?;
                let number = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
                Ok(number.into_pyobject(self.py)?.into_any())
            }
            tag::LONG => self.long(),
            tag::FLOAT => Ok(PyFloat::new(self.py, self.float()?).into_any()),
            tag::COMPLEX => {
                Ok(PyComplex::from_doubles(self.py, self.float()?, self.float()?).into_any())
            }
            tag::TEXT => Ok(PyString::new(self.py, self.utf8()?).into_any()),
            tag::SURROGATES => self.surrogates(),
            tag::BYTES => Ok(PyBytes::new(self.py, self.blob()?).into_any()),
            tag::BYTEARRAY => Ok(PyByteArray::new(self.py, self.blob()?).into_any()),
            tag::LIST => Ok(PyList::new(self.py, self.items(depth)?)?.into_any()),
            tag::TUPLE => Ok(PyTuple::new(self.py, self.items(depth)?)?.into_any()),
            tag::SET => Ok(PySet::new(self.py, self.items(depth)?)
                .map_err(unhashable)?
                .into_any()),
            tag::FROZENSET => Ok(PyFrozenSet::new(self.py, self.items(depth)?)
                .map_err(unhashable)?
                .into_any()),
            tag::DICT => self.dict(depth),
            tag::OBJECT => self.object(depth),
            _ => Err(damaged("it has a tag that this version does not know")),
        }
    }

    fn items(&mut self, depth: u32) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let count = self.count()?;
        (0..count).map(|_| self.value(depth + 1)).collect()
    }

    fn dict(&mut self, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py);
        for _ in 0..self.count()? {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            dict.set_item(key, value).map_err(unhashable)?;
        }
        Ok(dict.into_any())
    }

    fn object(&mut self, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        if self.take(1)?[0] != tag::TEXT {
            return Err(damaged("an object has no name"));
        }
        let name = self.utf8()?;
        let state = self.value(depth + 1)?;
        self.restore.call1((name, state))
    }

    fn long(&mut self) -> PyResult<Bound<'py, PyAny>> {
        static FROM_BYTES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let from_bytes = FROM_BYTES.get_or_try_init(self.py, || {
            self.py
                .get_type::<PyInt>()
                .getattr("from_bytes")
                .map(Bound::unbind)
        })?;
        let options = PyDict::new(self.py);
        options.set_item("signed", true)?;
        let bytes = PyBytes::new(self.py, self.blob()?);
        from_bytes
            .bind(self.py)
            .call((bytes, "little"), Some(&options))
    }

    fn surrogates(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let bytes = PyBytes::new(self.py, self.blob()?);
        let text = bytes.call_method1("decode", ("utf-8", "surrogatepass"));
        text.map_err(|_| damaged("a text is not one"))
    }

    fn utf8(&mut self) -> PyResult<&'a str> {
        std::str::from_utf8(self.blob()?).map_err(|_| damaged("a text is not one"))
    }

    fn blob(&mut self) -> PyResult<&'a [u8]> {
        let count = self.count()?;
        self.take(count)
    }

    /// A count of things that take a byte each at least, so it cannot be more than what is left.
    fn count(&mut self) -> PyResult<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.rest.len() {
            return Err(damaged("it is shorter than it says"));
        }
        Ok(count)
    }

    fn float(&mut self) -> PyResult<f64> {
        let bytes = self.take(8)?.try_into().expect("eight bytes were taken");
        Ok(f64::from_le_bytes(bytes))
    }

    fn number(&mut self) -> PyResult<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(damaged("a number has too many bytes"))
    }

    fn take(&mut self, count: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| damaged("it is shorter than it says"))?;
        self.rest = rest;
        Ok(taken)
    }
}

fn unchanged(is_so: bool) -> PyResult<()> {
    match is_so {
        true => Ok(()),
        false => Err(PyTypeError::new_err("a value changed while it was encoded")),
    }
}

fn unhashable(_: PyErr) -> PyErr {
    damaged("a key cannot be hashed")
}

fn damaged(why: &str) -> PyErr {
    PyValueError::new_err(format!("a stored value cannot be decoded: {why}"))
}
