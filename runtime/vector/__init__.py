"""A toolkit without physics that writes vector code with LLVM, compiles it and draws random numbers."""
