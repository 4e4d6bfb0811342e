"""What a hypercall returns when it refuses: the error numbers, negative."""

import abi

E2BIG, EACCES, EBUSY, EDOM = -abi.E2BIG, -abi.EACCES, -abi.EBUSY, -abi.EDOM
EEXIST, EFAULT, EINVAL, ENODATA = -abi.EEXIST, -abi.EFAULT, -abi.EINVAL, -abi.ENODATA
ENODEV, ENOENT, ENOMEM, ENOSPC = -abi.ENODEV, -abi.ENOENT, -abi.ENOMEM, -abi.ENOSPC
ENOSYS, ENXIO, EOPNOTSUPP, EOVERFLOW = -abi.ENOSYS, -abi.ENXIO, -abi.EOPNOTSUPP, -abi.EOVERFLOW
EPERM, ERESTART, ESRCH = -abi.EPERM, -abi.ERESTART, -abi.ESRCH
