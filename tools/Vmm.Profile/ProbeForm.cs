namespace Vmm.Profile;

/// <summary>The form of what was counted: the lowest four bits of its kind.</summary>
internal enum ProbeForm
{
    /// <summary>No value.</summary>
    None,

    /// <summary>A number of 32 bits.</summary>
    FourByte,

    /// <summary>A number of 64 bits, of which the lower half was written first.</summary>
    EightByte,

    /// <summary>A type.</summary>
    Type,

    /// <summary>A method.</summary>
    Method,
}
