"""What `kpy.lower.switch_points` compiles into a program: whether anybody watches its accesses."""

from kpy import static, u32

is_watched = static(u32)  # 0: nobody
