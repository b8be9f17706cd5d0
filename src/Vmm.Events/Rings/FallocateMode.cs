namespace Vmm.Events.Rings;

/// <summary>What fallocate(2) does with a range.</summary>
[Flags]
public enum FallocateMode
{
    /// <summary>Gives it blocks; the file grows if it must.</summary>
    Allocate = 0,
    /// <summary>The file does not grow (FALLOC_FL_KEEP_SIZE).</summary>
    KeepSize = 1,
    /// <summary>Takes its blocks away; it reads as zeroes. Needs <see cref="KeepSize"/> (FALLOC_FL_PUNCH_HOLE).</summary>
    PunchHole = 2,
    /// <summary>It reads as zeroes and keeps its blocks (FALLOC_FL_ZERO_RANGE).</summary>
    ZeroRange = 16,
}
