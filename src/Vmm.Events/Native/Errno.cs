namespace Vmm.Events;

/// <summary>The Linux error numbers that this library distinguishes (errno(3), x86-64 values).</summary>
public enum Errno
{
    /// <summary>No error.</summary>
    None = 0,
    /// <summary>EPERM: operation not permitted; from epoll_ctl(2): the file does not support epoll.</summary>
    NotPermitted = 1,
    /// <summary>ENOENT: no such file; from epoll_ctl(2): the descriptor is not in the set.</summary>
    NoEntry = 2,
    /// <summary>ESRCH: no such process.</summary>
    NoProcess = 3,
    /// <summary>EINTR: a signal interrupted the call.</summary>
    Interrupted = 4,
    /// <summary>EIO: input or output error.</summary>
    InputOutput = 5,
    /// <summary>ENXIO: no such device or address; from lseek(2): there is no data from that place on.</summary>
    NoDeviceOrAddress = 6,
    /// <summary>EBADF: not an open file descriptor.</summary>
    BadDescriptor = 9,
    /// <summary>EAGAIN: try again; nothing to read or no room to write.</summary>
    Again = 11,
    /// <summary>ENOMEM: out of memory.</summary>
    NoMemory = 12,
    /// <summary>EACCES: permission denied.</summary>
    AccessDenied = 13,
    /// <summary>EBUSY: resource busy.</summary>
    Busy = 16,
    /// <summary>EEXIST: it already exists; from epoll_ctl(2): the descriptor is already in the set.</summary>
    Exists = 17,
    /// <summary>ENODEV: no such device.</summary>
    NoDevice = 19,
    /// <summary>EISDIR: it is a directory.</summary>
    IsDirectory = 21,
    /// <summary>EINVAL: invalid argument.</summary>
    Invalid = 22,
    /// <summary>ENFILE: too many open files in the system.</summary>
    SystemFileLimit = 23,
    /// <summary>EMFILE: too many open files in the process.</summary>
    ProcessFileLimit = 24,
    /// <summary>ENOSPC: no space left; from epoll_ctl(2): the limit of epoll watches is reached.</summary>
    NoSpace = 28,
    /// <summary>EROFS: the file system is mounted read-only.</summary>
    ReadOnlyFileSystem = 30,
    /// <summary>EPIPE: the reader is gone.</summary>
    BrokenPipe = 32,
    /// <summary>ENAMETOOLONG: the name is longer than the system takes.</summary>
    NameTooLong = 36,
    /// <summary>ENOSYS: the kernel does not know the call.</summary>
    NotImplemented = 38,
    /// <summary>ETIME: the time is up.</summary>
    TimerExpired = 62,
    /// <summary>EBADFD: the descriptor is in a bad state; from a TAP: its interface was deleted.</summary>
    BadDescriptorState = 77,
    /// <summary>EOPNOTSUPP: the operation is not supported by this file.</summary>
    NotSupported = 95,
    /// <summary>EADDRINUSE: another socket has that address.</summary>
    AddressInUse = 98,
    /// <summary>ETIMEDOUT: the other end did not answer in time.</summary>
    TimedOut = 110,
    /// <summary>ECONNREFUSED: no socket listens there.</summary>
    ConnectionRefused = 111,
    /// <summary>EALREADY: it is in progress, and cannot be cancelled any more.</summary>
    Already = 114,
    /// <summary>ECANCELED: the operation was cancelled.</summary>
    Canceled = 125,
}
