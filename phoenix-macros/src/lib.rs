//! Attribute and derive macros of Phoenix.
