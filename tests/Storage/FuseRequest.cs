namespace Vmm.Tests;

/// <summary>What the kernel asks of a file system in user space (linux/fuse.h, enum fuse_opcode).</summary>
internal enum FuseRequest : uint
{
    Lookup = 1,
    Forget = 2,
    GetAttributes = 3,
    SetAttributes = 4,
    Open = 14,
    Read = 15,
    Write = 16,
    Release = 18,
    Fsync = 20,
    Flush = 25,
    Init = 26,
    Interrupt = 36,
    BatchForget = 42,
    Fallocate = 43,
}
