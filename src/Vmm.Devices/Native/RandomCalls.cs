namespace Vmm.Devices.Native;

/// <summary>getrandom(2).</summary>
internal static unsafe partial class RandomCalls
{
    [LibraryImport("libc", EntryPoint = "getrandom", SetLastError = true)]
    private static partial nint GetRandom(byte* buffer, nuint length, uint flags);

    /// <summary>Fills a span from the kernel's random number generator. Waits only on a host that has just booted.</summary>
    internal static Errno Fill(Span<byte> span)
    {
        // SAFETY: the kernel writes at most `length` bytes into the pinned span.
        fixed (byte* first = span)
        {
            for (int done = 0; done < span.Length;)
            {
                nint got = GetRandom(first + done, (nuint)(span.Length - done), 0);
                Errno errno = CallResult.Of(got);
                if (errno is not (Errno.None or Errno.Interrupted)) return errno;
                if (got > 0) done += (int)got;
            }
        }
        return Errno.None;
    }
}
