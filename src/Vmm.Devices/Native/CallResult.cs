namespace Vmm.Devices.Native;

/// <summary>What became of a call of the C library: less than 0 says that it failed, and errno why.</summary>
internal static class CallResult
{
    /// <summary>errno of this thread's last call that keeps it.</summary>
    internal static Errno LastError => (Errno)Marshal.GetLastPInvokeError();

    internal static Errno Of(nint result) => result >= 0 ? Errno.None : LastError;

    /// <summary>The same of a call that gives a length, which is 0 if it failed.</summary>
    internal static Errno Of(nint result, out int length)
    {
        length = (int)Math.Max(result, 0);
        return Of(result);
    }

    /// <summary>The descriptor that a call gives; null if it failed.</summary>
    internal static OwnedFd? Descriptor(nint result) => result < 0 ? null : new OwnedFd((int)result);
}
