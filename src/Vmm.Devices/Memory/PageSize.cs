namespace Vmm.Devices;

/// <summary>What guest memory is made of on the host.</summary>
public enum PageSize
{
    /// <summary>Pages of 4 KiB, which the kernel joins to larger ones as it sees fit; each is taken when it is first touched.</summary>
    Standard,
    /// <summary>Pages of 2 MiB, of those that the host has put aside (hugetlbfs); all are reserved at once.</summary>
    TwoMiB,
    /// <summary>Pages of 1 GiB, likewise.</summary>
    OneGiB,
}
