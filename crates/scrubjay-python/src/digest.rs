//! Digests of buffers, for arguments whose content would be too large to keep as a key.

#![allow(unsafe_code, reason = "reads a buffer in place")]

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The BLAKE3 digest of a contiguous buffer. Other threads run meanwhile.
#[pyfunction]
pub(crate) fn digest<'py>(
    py: Python<'py>,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let buffer = PyUntypedBuffer::get(object)?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer is not contiguous"));
    }
    let (start, length) = (buffer.buf_ptr() as usize, buffer.len_bytes());
    let digest = py.detach(|| {
        let bytes = match length {
            0 => &[][..],
            // SAFETY: the buffer is held, so its memory stays. Its owner may write to it meanwhile, as to any array that is
            // passed to a function while another thread changes it: then the digest is of something in between.
            length => unsafe { std::slice::from_raw_parts(start as *const u8, length) },
        };
        blake3::hash(bytes)
    });
    Ok(PyBytes::new(py, digest.as_bytes()))
}
