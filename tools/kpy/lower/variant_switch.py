"""What `kpy.lower.variants` compiles into a program: which other version of a function is in
force.
"""

from kpy import static, u32

chosen = static(u32)  # 0: none
