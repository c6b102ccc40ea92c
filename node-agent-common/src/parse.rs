//! The header parser, generic over a byte source: the kernel side reads packets with it, the host fuzzes it.
