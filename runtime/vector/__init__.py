"""A toolkit that emits and compiles vector code with LLVM; it knows no physics."""
