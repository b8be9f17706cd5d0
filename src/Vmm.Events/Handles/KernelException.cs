using System.ComponentModel;

namespace Vmm.Events;

/// <summary>The kernel refused a call. The message says what was asked, what the kernel said and, where known, what to do.</summary>
public class KernelException : IOException
{
    /// <summary>Makes an exception for a refused call.</summary>
    /// <param name="what">What was asked, as the start of a sentence: <c>"epoll_create1"</c>, <c>"cannot open 'disk.img'"</c>.</param>
    /// <param name="errno">What the kernel said.</param>
    /// <param name="hint">What to do about it, if that is known.</param>
    public KernelException(string what, Errno errno, string? hint = null)
        : base(hint is null ? $"{what}: {Describe(errno)}" : $"{what}: {Describe(errno)}: {hint}") =>
        (Errno, HResult) = (errno, (int)errno);

    /// <summary>What the kernel said. It is the <see cref="Exception.HResult"/> too, as of the runtime's own exceptions.</summary>
    public Errno Errno { get; }

    /// <summary>The kernel's own words for an error: <c>No space left on device</c>.</summary>
    public static string Describe(Errno errno) => new Win32Exception((int)errno).Message;
}
