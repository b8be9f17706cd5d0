namespace Vmm.Events.Rings;

/// <summary>A file that an operation keeps open without being on it, and the descriptor that it may put in its place.</summary>
internal readonly struct HeldFile
{
    private readonly RingFile? _file;
    private readonly OwnedFd? _replacement;

    private HeldFile(RingFile file, OwnedFd? replacement)
    {
        _file = file;
        _replacement = replacement;
    }

    internal static HeldFile Of(RingFile file, OwnedFd? replacement = null)
    {
        bool held = false;
        replacement?.DangerousAddRef(ref held);
        file.Hold();
        return new HeldFile(file, replacement);
    }

    /// <summary>The number of the replacement.</summary>
    internal int Number => (int)_replacement!.DangerousGetHandle();

    /// <summary>The operation is over.</summary>
    internal void Release(int result)
    {
        if (_replacement is not null)
        {
            if (result > 0) _file!.Replace(_replacement); else _replacement.DangerousRelease();
        }
        _file?.End();
    }
}
