namespace Vmm.Devices;

/// <summary>How a walk through a table of descriptors ended.</summary>
internal enum WalkEnd
{
    /// <summary>With the last descriptor of the chain.</summary>
    Complete,

    /// <summary>At a descriptor that names an indirect table.</summary>
    AtTable,

    /// <summary>With a fault, which was reported.</summary>
    Refused,
}
