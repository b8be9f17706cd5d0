namespace Vmm.Events;

/// <summary>What the kernel reported of a descriptor (epoll_wait(2)).</summary>
public readonly record struct Readiness
{
    internal Readiness(uint bits) => Bits = bits;

    internal uint Bits { get; }

    /// <summary>A readiness for a test that calls a handler itself.</summary>
    public static Readiness Of(bool readable = false, bool writable = false, bool readHangUp = false, bool hangUp = false,
        bool error = false, bool priority = false) =>
        new((readable ? 0x001u : 0) | (priority ? 0x002u : 0) | (writable ? 0x004u : 0) | (error ? 0x008u : 0)
            | (hangUp ? 0x010u : 0) | (readHangUp ? 0x2000u : 0));

    /// <summary>There is something to read (EPOLLIN).</summary>
    public bool IsReadable => (Bits & 0x001) != 0;
    /// <summary>There is an exceptional condition (EPOLLPRI).</summary>
    public bool IsPriority => (Bits & 0x002) != 0;
    /// <summary>There is room to write (EPOLLOUT).</summary>
    public bool IsWritable => (Bits & 0x004) != 0;
    /// <summary>The descriptor is in error (EPOLLERR), or the reader of a pipe is gone.</summary>
    public bool IsError => (Bits & 0x008) != 0;
    /// <summary>Both directions are shut down (EPOLLHUP).</summary>
    public bool IsHangUp => (Bits & 0x010) != 0;
    /// <summary>The peer shut down its writing half (EPOLLRDHUP).</summary>
    public bool IsReadHangUp => (Bits & 0x2000) != 0;

    /// <inheritdoc/>
    public override string ToString()
    {
        List<string> parts = [];
        if (IsReadable) parts.Add("readable");
        if (IsWritable) parts.Add("writable");
        if (IsPriority) parts.Add("priority");
        if (IsReadHangUp) parts.Add("read hang-up");
        if (IsHangUp) parts.Add("hang-up");
        if (IsError) parts.Add("error");
        return parts.Count == 0 ? "nothing" : string.Join(" + ", parts);
    }
}
