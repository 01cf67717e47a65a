//! What needs the whole of Phoenix; its tests are in `tests`.
