//! Weight files. (skeleton)
